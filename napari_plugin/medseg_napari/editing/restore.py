"""Put the label maps of a session that crashed back onto their scans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import MedsegError
from medseg.runtime.progress import Progress
from medseg.volume import Grid, LabelMap, Provenance
from medseg_napari.editing.autosave import RecoverableSession
from medseg_napari.editing.saved_layers import AUTOSAVE_KEY, SavedLayer, SavedScan
from medseg_napari.label_features import colormap_of, features_of
from medseg_napari.layers import (
    FOREIGN,
    KEY,
    TRANSFORM,
    LayerTuple,
    Source,
    layer_from_labels,
    layer_from_scan,
)
from medseg_napari.run_record import RUN_KEY

if TYPE_CHECKING:
    from napari.components import ViewerModel


@dataclass
class Prepared:
    """What restoring will add to the viewer: scans not open yet, labels with the active value.

    `warnings` tell of scans that are gone or changed, and of files that are damaged.
    """

    scans: list[LayerTuple] = field(default_factory=list)
    labels: list[tuple[LayerTuple, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def session_text(session: RecoverableSession, now_s: float) -> str:
    """What can be restored, as one sentence; `now_s` in seconds since 1970."""
    names = ", ".join(f"'{layer.name}'" for layer in session.layers[:3])
    more = f" and {len(session.layers) - 3} more" if len(session.layers) > 3 else ""
    return f"Unsaved labels, kept {_ago(now_s - session.saved_at)}: {names}{more}."


def prepare(
    session: RecoverableSession, open_scans: Iterable[Source], progress: Progress
) -> Prepared:
    """Read what is to be restored; may take long and touches no window.

    The session is kept until it is discarded; scans that are open are not read again.
    """
    prepared, scans = Prepared(), list(open_scans)
    for done, saved in enumerate(session.layers):
        progress(done, len(session.layers), "restoring labels")
        try:
            labels = session.labels(saved)
        except MedsegError as error:
            prepared.warnings.append(str(error))
            continue
        if saved.shape:
            prepared.labels.append((_layer_of_own_axes(saved, labels), saved.selected))
            continue
        if saved.scan is not None:
            _compare(saved, saved.scan, prepared.warnings)
            if saved.scan.path and _on_grid(scans, labels.grid) is None:
                scans += _read_again(saved.scan, labels.grid, saved.name, prepared)
        layer = _labels_layer(saved, labels, _on_grid(scans, labels.grid))
        prepared.labels.append((layer, saved.selected))
    return prepared


def add(viewer: ViewerModel, prepared: Prepared) -> list[Any]:
    """Add the scans and the label maps to a viewer; the label maps' layers."""
    from napari.layers import Layer

    for layer_tuple in prepared.scans:
        viewer.add_layer(Layer.create(*layer_tuple))
    added = []
    for layer_tuple, selected in prepared.labels:
        added.append(viewer.add_layer(Layer.create(*layer_tuple)))
        added[-1].selected_label = selected
    return added


def _labels_layer(saved: SavedLayer, labels: LabelMap, scan: Source | None) -> LayerTuple:
    """On the scan's own grid, bit for bit, and with its files where the scan is known."""
    source = Provenance("autosave") if saved.placed else FOREIGN
    labels = replace(labels, provenance=source)
    if scan is not None:
        labels = replace(labels, grid=scan["grid"], provenance=scan["provenance"])
    data, attributes, kind = layer_from_labels(labels, saved.name)
    attributes["name"] = saved.name
    attributes["metadata"] |= {AUTOSAVE_KEY: saved.file.split("-")[0], RUN_KEY: saved.runs}
    return data, attributes, kind


def _layer_of_own_axes(saved: SavedLayer, labels: LabelMap) -> LayerTuple:
    """A layer that is no volume, as it was."""
    attributes = {
        "name": saved.name,
        **_transform(saved),
        "features": features_of(labels),
        "colormap": colormap_of(labels.table),
        "metadata": {
            KEY: {"table": labels.table},
            AUTOSAVE_KEY: saved.file.split("-")[0],
            RUN_KEY: saved.runs,
        },
    }
    return labels.values.reshape(saved.shape), attributes, "labels"


def _transform(saved: SavedLayer) -> dict[str, Any]:
    """The attributes of a layer that say where it lies."""
    axes = len(saved.shape)
    kept: dict[str, Any] = {key: getattr(saved, key) for key in TRANSFORM if getattr(saved, key)}
    for key, size in (("rotate", axes), ("affine", axes + 1)):
        if key in kept:
            kept[key] = np.reshape(kept[key], (size, size))
    return kept


def _compare(saved: SavedLayer, scan: SavedScan, warnings: list[str]) -> None:
    changed = len(scan.changed_files())
    if changed:
        warnings.append(
            f"the scan of '{saved.name}' has changed since or is gone ({changed} file(s)):"
            " look whether the labels still fit"
        )


def _read_again(scan: SavedScan, grid: Grid, name: str, prepared: Prepared) -> list[Source]:
    """Read the scan a label map lies on; nothing when it is another one by now."""
    from medseg.reading import read_scan

    if not Path(scan.path).exists():
        prepared.warnings.append(f"the scan of '{name}' is not where it was")
        return []
    try:
        data, attributes, kind = layer_from_scan(
            read_scan(Path(scan.path), series=scan.series_uid or None), scan.name
        )
    except MedsegError as error:
        prepared.warnings.append(str(error))
        return []
    source: Source = attributes["metadata"][KEY]
    if not source["grid"].same_as(grid):
        prepared.warnings.append(f"the scan of '{name}' has another grid now")
        return []
    prepared.scans.append((data, {**attributes, "name": scan.name}, kind))
    return [source]


def _on_grid(scans: Iterable[Source], grid: Grid) -> Source | None:
    return next((source for source in scans if source["grid"].same_as(grid)), None)


def _ago(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    if minutes == 0:
        return "just now"
    if minutes < 90:
        return f"{minutes} min ago"
    hours = round(minutes / 60)
    return f"{hours} h ago" if hours < 48 else f"{round(hours / 24)} days ago"
