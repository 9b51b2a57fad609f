"""Put the label maps of a session that crashed back onto their scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import MedsegError
from medseg.runtime.progress import Progress
from medseg.volume import Grid, LabelMap, LabelTable
from medseg_napari.editing.autosave import RecoverableSession
from medseg_napari.editing.saved_layers import SavedLayer, attributes_of, changed_files, scan_of
from medseg_napari.layers import AXES, KEY, LayerTuple, layer_from_labels, layer_from_scan

if TYPE_CHECKING:
    from napari.components import ViewerModel


@dataclass
class Prepared:
    """What restoring will add to the viewer.

    Parameters
    ----------
    scans : list of tuple
        Image layers that are not open yet, as napari takes layers.
    labels : list of tuple
        The saved layers and their voxels.
    told : list of str
        What the person should know: scans that are gone or changed, files that are damaged.
    """

    scans: list[LayerTuple] = field(default_factory=list)
    labels: list[tuple[SavedLayer, npt.NDArray[Any]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def words_on(leftover: RecoverableSession, now_s: float) -> str:
    """What can be restored, as one sentence.

    Parameters
    ----------
    leftover : RecoverableSession
        Of a session that is over.
    now_s : float
        Seconds since 1970.
    """
    names = ", ".join(f"'{layer.name}'" for layer in leftover.layers[:3])
    more = f" and {len(leftover.layers) - 3} more" if len(leftover.layers) > 3 else ""
    return f"Unsaved labels, kept {_ago(now_s - leftover.saved_at)}: {names}{more}."


def prepare(
    leftover: RecoverableSession, open_grids: Sequence[Grid], progress: Progress
) -> Prepared:
    """Read what is to be restored; may take long and touches no window.

    Parameters
    ----------
    leftover : RecoverableSession
        Of a session that is over; it is kept until it is declined.
    open_grids : sequence of Grid
        Of the scans that are open already.
    progress : Progress
    """
    prepared, grids = Prepared(), list(open_grids)
    for done, saved in enumerate(leftover.layers):
        progress(done, len(leftover.layers), "restoring labels")
        try:
            voxels = leftover.voxels(saved)
        except MedsegError as error:
            prepared.told.append(str(error))
            continue
        prepared.labels.append((saved, voxels))
        _compare(saved, prepared.told)
        if not _holds(grids, saved.grid) and saved.scan_path:
            grids += _read_again(saved, prepared)
    return prepared


def add(viewer: ViewerModel, prepared: Prepared) -> list[Any]:
    """Add the scans and the label maps to a viewer; the label maps' layers."""
    from napari.layers import Labels, Layer

    for layer_tuple in prepared.scans:
        viewer.add_layer(Layer.create(*layer_tuple))
    added = []
    for saved, voxels in prepared.labels:
        layer = Labels(voxels, **_attributes(viewer, saved))
        _name_and_colour(layer, saved)
        layer.selected_label = saved.selected
        added.append(viewer.add_layer(layer))
    return added


def _attributes(viewer: ViewerModel, saved: SavedLayer) -> dict[str, Any]:
    attributes = attributes_of(saved, _source(viewer, saved))
    if len(saved.shape) == len(AXES):
        attributes["axis_labels"] = AXES
    return attributes


def _name_and_colour(layer: Any, saved: SavedLayer) -> None:
    from medseg_napari.editing.label_tables import set_table

    if KEY in layer.metadata:
        set_table(layer, saved.table)


def _compare(saved: SavedLayer, told: list[str]) -> None:
    changed = changed_files(saved)
    if changed:
        told.append(
            f"the scan of '{saved.name}' has changed since or is gone ({len(changed)} file(s)):"
            " look whether the labels still fit"
        )


def _read_again(saved: SavedLayer, prepared: Prepared) -> list[Grid]:
    """Read the scan a label map lies on; its grid, or nothing when it is another one by now."""
    from medseg.reading import read_scan

    if not Path(saved.scan_path).exists():
        prepared.told.append(f"the scan of '{saved.name}' is not where it was")
        return []
    try:
        scan = read_scan(Path(saved.scan_path), series=saved.scan_series or None)
    except MedsegError as error:
        prepared.told.append(str(error))
        return []
    if not _holds([scan.grid], saved.grid):
        prepared.told.append(f"the scan of '{saved.name}' has another grid now")
        return []
    data, attributes, kind = layer_from_scan(scan, saved.scan_name)
    prepared.scans.append((data, {**attributes, "name": saved.scan_name}, kind))
    return [scan.grid]


def _holds(grids: Sequence[Grid], wanted: Grid | None) -> bool:
    return wanted is not None and any(grid.same_as(wanted) for grid in grids)


def _source(viewer: ViewerModel, saved: SavedLayer) -> dict[str, Any] | None:
    """Of the scan, with its files; else of the grid alone."""
    grid = saved.grid
    if grid is None:
        return None
    scan = scan_of(None, grid, viewer.layers)
    if scan is not None:
        return {**scan.metadata[KEY], "grid": grid}
    blank = LabelMap(np.broadcast_to(np.uint8(0), grid.shape), grid, LabelTable(()))
    source: dict[str, Any] = layer_from_labels(blank, "")[1]["metadata"][KEY]
    return source


def _ago(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    if minutes == 0:
        return "just now"
    if minutes < 90:
        return f"{minutes} min ago"
    hours = round(minutes / 60)
    return f"{hours} h ago" if hours < 48 else f"{round(hours / 24)} days ago"
