"""Results in the viewer: as a new layer, or merged into one that is there; and taken back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, LabelError
from medseg.volume.label_map import present_values
from medseg.volume.label_merging import Rule, merge_tables, merge_values, renumber
from medseg_napari.editing.label_tables import adopt_layer, set_table, table_of, visibility_of
from medseg_napari.label_features import features_of
from medseg_napari.layers import KEY, MAP_KEY, attributes_of, labels_from_layer, same_place
from medseg_napari.run_record import RUN_KEY, Runs, maker_of, runs_of, with_run
from medseg_napari.undo import put_values

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

    from medseg.inference import Roi
    from medseg.volume import LabelTable
    from medseg_napari.inference.run import Outcome

Values = npt.NDArray[Any]


@dataclass
class PendingResult:
    """A result in the viewer that the person has neither accepted nor rejected yet.

    Parameters
    ----------
    layer : Labels
    rule : Rule or None
        How it was merged into the layer; None for a layer of its own.
    where : tuple of slice
        The voxels that were looked at.
    before, after : ndarray of int
        Those voxels of the layer before and after.
    table : LabelTable
        Names of the layer before.
    runs : tuple of RunRecord
        Those of the layer before.
    drawn : bool
        Whether a person had a hand in the layer before.
    maps : list of Layer
        Layers of probabilities that came with it.
    """

    layer: Labels
    rule: Rule | None
    where: Roi
    before: Values
    after: Values
    table: LabelTable
    runs: Runs = ()
    drawn: bool = False
    maps: list[Layer] = field(default_factory=list)


class ResultLayers:
    """Places results in a viewer, and remembers what they were, to know what was edited since."""

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._results: WeakKeyDictionary[Labels, Values] = WeakKeyDictionary()

    def add(self, outcome: Outcome, target: Labels | None, rule: Rule) -> PendingResult:
        """Put a result into a new layer, or merge it by `rule` into `target`, undoable in one step.

        `target` was checked by :func:`check_target`.
        """
        pending = self._new_layer(outcome) if target is None else self._merge(outcome, target, rule)
        self._show_maps(outcome, pending)
        return pending

    def replace_preview(self, pending: PendingResult, outcome: Outcome) -> PendingResult:
        """Put a better result in the place of a preview; what was painted meanwhile stays."""
        if pending.layer not in self.viewer.layers:
            return self.add(outcome, None, "overwrite")
        current = np.asarray(pending.layer.data[pending.where])
        touched = current != pending.after
        if pending.rule is None:
            values = outcome.labels[0][pending.where].astype(current.dtype, copy=False)
            pending.layer.name = outcome.labels[1]["name"]
            pending.layer.metadata[RUN_KEY] = outcome.labels[1]["metadata"].get(RUN_KEY)
        else:
            values = self._merged_values(outcome, pending, edited=self._edited(pending))
        put_values(pending.layer, np.where(touched, current, values), where=pending.where)
        if pending.rule is not None:
            _record(outcome, pending)
        self._show_volumes(pending.layer)
        pending.after = values
        self._remember(pending)
        self._show_maps(outcome, pending)
        return pending

    def undo(self, pending: PendingResult) -> None:
        """Undo a result: its own layer goes, a merged one gets its voxels back.

        Voxels that were painted since keep what was painted.
        """
        for layer in (*pending.maps, *([pending.layer] if pending.rule is None else [])):
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        if pending.layer not in self.viewer.layers:
            return
        current = np.asarray(pending.layer.data[pending.where])
        back = np.where(current == pending.after, pending.before, current)
        put_values(pending.layer, back, where=pending.where)
        if set(np.unique(back)) <= {0, *pending.table.values}:
            set_table(pending.layer, pending.table)
        pending.layer.metadata[RUN_KEY] = pending.runs
        self._show_volumes(pending.layer)
        self._results.pop(pending.layer, None)

    def _show_maps(self, outcome: Outcome, pending: PendingResult) -> None:
        """Lay maps over the scan in the place of those of the run before; labels stay active."""
        for old in [layer for layer in self.viewer.layers if layer.metadata.get(MAP_KEY) == "run"]:
            self.viewer.layers.remove(old)
        pending.maps = [self._add(layer) for layer in outcome.maps]
        for shown in pending.maps:
            shown.colorbar.visible = True
        self.viewer.layers.selection.active = pending.layer

    def _new_layer(self, outcome: Outcome) -> PendingResult:
        layer = self._add(outcome.labels)
        where = outcome.roi or _everywhere(layer.data.shape)
        after = np.array(layer.data[where])  # the layer's own voxels will be painted on
        before = np.broadcast_to(after.dtype.type(0), after.shape)
        pending = PendingResult(layer, None, where, before, after, table_of(layer))
        self._remember(pending)
        return pending

    def _merge(self, outcome: Outcome, target: Labels, rule: Rule) -> PendingResult:
        adopt_layer(target, self.viewer.layers, present_values(np.asarray(target.data)))
        where = outcome.roi or _everywhere(target.data.shape)
        before = np.array(target.data[where])
        pending = PendingResult(target, rule, where, before, before, table_of(target))
        pending.runs, pending.drawn = runs_of({"metadata": target.metadata}), _is_drawn(target)
        pending.after = self._merged_values(outcome, pending, edited=self._edited(pending))
        put_values(target, pending.after, where=where)
        _record(outcome, pending)
        self._show_volumes(target)
        self._remember(pending)
        return pending

    def _merged_values(
        self, outcome: Outcome, pending: PendingResult, *, edited: Values | None
    ) -> Values:
        """What the voxels shall hold by the rule; the layer's table then names all of it."""
        data, attributes, _ = outcome.labels
        merged = merge_tables(pending.table, attributes["metadata"][KEY]["table"])
        _check_fits(pending.layer, merged.table)
        set_table(pending.layer, merged.table)
        return merge_values(
            pending.before,
            renumber(data[pending.where], merged.values),
            rule=pending.rule or "overwrite",
            own=merged.values.values(),
            locked=visibility_of(pending.layer).locked,
            edited=edited,
        )

    def _edited(self, pending: PendingResult) -> Values | None:
        """Voxels that the layer held otherwise after the last result in it."""
        result = self._results.get(pending.layer)
        if result is None or result.shape != pending.layer.data.shape:
            return None
        edited: Values = pending.before != result[pending.where]
        return edited

    def _remember(self, pending: PendingResult) -> None:
        """Keep what the whole layer was after its last results; copied once for a part of it."""
        shape = pending.layer.data.shape
        if pending.after.shape == shape:
            self._results[pending.layer] = pending.after
            return
        result = self._results.get(pending.layer)
        if result is None or result.shape != shape:
            result = self._results[pending.layer] = np.array(pending.layer.data)
        result[pending.where] = pending.after

    def _add(self, layer_tuple: tuple[Any, dict[str, Any], str]) -> Any:
        from napari.layers import Layer

        return self.viewer.add_layer(Layer.create(*layer_tuple))

    def _show_volumes(self, layer: Labels) -> None:
        data, attributes, _ = layer.as_layer_data_tuple()
        layer.features = features_of(labels_from_layer(data, attributes))


def is_untouched(pending: PendingResult) -> bool:
    """Whether nobody painted on a result since it came."""
    return bool(np.array_equal(pending.layer.data[pending.where], pending.after))


def _is_drawn(layer: Labels) -> bool:
    """Whether a person had a hand in what the layer holds."""
    data = np.asarray(layer.data)
    attributes = {"metadata": layer.metadata}
    return bool(data.any()) and maker_of(data, attributes).kind != "automatic"


def _record(outcome: Outcome, pending: PendingResult) -> None:
    """Take down the run whose result was merged into a layer."""
    run = outcome.labels[1]["metadata"].get(RUN_KEY)
    if run is not None:
        data = np.asarray(pending.layer.data)
        pending.layer.metadata[RUN_KEY] = with_run(data, pending.runs, run, drawn=pending.drawn)


def check_target(layer: Layer, scan: Layer) -> None:
    """Refuse (`GeometryError`) to merge labels of a scan into a layer with other voxels."""
    shape = scan.data.shape[:-1] if getattr(scan, "rgb", False) else scan.data.shape
    if not same_place(layer.data.shape, attributes_of(layer), shape, attributes_of(scan)):
        raise GeometryError(
            f"layer '{layer.name}' has other voxels ({_size(layer)}) than the scan"
            f" '{scan.name}' ({_size(scan)}), so the result cannot go into it; choose 'a new layer'"
        )


def _size(layer: Layer) -> str:
    size = " x ".join(str(n) for n in layer.data.shape[-3:])
    return f"{size} of {' x '.join(f'{mm:.3g}' for mm in layer.scale[-3:])} mm"


def _check_fits(layer: Labels, table: LabelTable) -> None:
    largest = max(table.values, default=0)
    if largest > np.iinfo(layer.data.dtype).max:
        raise LabelError(
            f"layer '{layer.name}' holds {layer.data.dtype} labels and the model gives value"
            f" {largest}; choose 'a new layer'"
        )


def _everywhere(shape: tuple[int, ...]) -> Roi:
    first, second, third = (slice(0, size) for size in shape)
    return first, second, third
