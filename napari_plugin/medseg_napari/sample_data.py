"""Sample data: made by formula, nothing is downloaded."""

from __future__ import annotations

from medseg_napari.layers import LayerTuple, layer_from_labels, layer_from_scan

SEED = 7


def abdomen() -> list[LayerTuple]:
    """An abdominal CT phantom and the label map of its organs."""
    from medseg.phantoms.abdomen import abdominal_ct
    from medseg_napari.display.setup import install_in_current_viewer

    scan, labels = abdominal_ct(SEED)
    install_in_current_viewer()
    return [layer_from_scan(scan, "Phantom CT"), layer_from_labels(labels, "Phantom organs")]
