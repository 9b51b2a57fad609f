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
from medseg_napari.editing.label_tables import adopt_layer, set_table, shown_of, table_of
from medseg_napari.label_features import features_of
from medseg_napari.layers import KEY, labels_from_layer, same_place
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

    def place(self, outcome: Outcome, target: Labels | None, rule: Rule) -> PendingResult:
        """Put a result into a new layer, or merge it into one as one step that can be undone.

        Parameters
        ----------
        outcome : Outcome
        target : Labels, optional
            The layer to merge into; checked by :func:`check_target`.
        rule : Rule
            Which voxels of `target` may change.
        """
        placed = self._as_new(outcome) if target is None else self._merged(outcome, target, rule)
        placed.maps = [self._add(one) for one in outcome.maps]
        return placed

    def refine(self, placed: PendingResult, outcome: Outcome) -> PendingResult:
        """Put a better result in the place of a preview; what was painted meanwhile stays."""
        if placed.layer not in self.viewer.layers:
            return self.place(outcome, None, "overwrite")
        current = np.asarray(placed.layer.data[placed.where])
        touched = current != placed.after
        if placed.rule is None:
            found = outcome.labels[0][placed.where].astype(current.dtype)
            placed.layer.name = outcome.labels[1]["name"]
            placed.layer.metadata[RUN_KEY] = outcome.labels[1]["metadata"].get(RUN_KEY)
        else:
            found = self._to_be(outcome, placed, edited=self._edited(placed))
        put_values(placed.layer, np.where(touched, current, found), where=placed.where)
        if placed.rule is not None:
            _record(outcome, placed)
        self._show_volumes(placed.layer)
        placed.after = found
        self._remember(placed)
        placed.maps = [self._add(one) for one in outcome.maps]
        return placed

    def take_back(self, placed: PendingResult) -> None:
        """Undo a result: its own layer goes, a merged one gets its voxels back.

        Voxels that were painted since keep what was painted.
        """
        for layer in (*placed.maps, *([placed.layer] if placed.rule is None else [])):
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        if placed.layer not in self.viewer.layers:
            return
        current = np.asarray(placed.layer.data[placed.where])
        back = np.where(current == placed.after, placed.before, current)
        put_values(placed.layer, back, where=placed.where)
        if set(np.unique(back)) <= {0, *placed.table.values}:
            set_table(placed.layer, placed.table)
        placed.layer.metadata[RUN_KEY] = placed.runs
        self._show_volumes(placed.layer)
        self._results.pop(placed.layer, None)

    def _as_new(self, outcome: Outcome) -> PendingResult:
        layer = self._add(outcome.labels)
        where = outcome.roi or _everywhere(layer.data.shape)
        after = np.array(layer.data[where])
        placed = PendingResult(layer, None, where, np.zeros_like(after), after, table_of(layer))
        self._remember(placed)
        return placed

    def _merged(self, outcome: Outcome, target: Labels, rule: Rule) -> PendingResult:
        adopt_layer(target, self.viewer.layers, present_values(np.asarray(target.data)))
        where = outcome.roi or _everywhere(target.data.shape)
        before = np.array(target.data[where])
        placed = PendingResult(target, rule, where, before, before, table_of(target))
        placed.runs, placed.drawn = runs_of({"metadata": target.metadata}), _is_drawn(target)
        placed.after = self._to_be(outcome, placed, edited=self._edited(placed))
        put_values(target, placed.after, where=where)
        _record(outcome, placed)
        self._show_volumes(target)
        self._remember(placed)
        return placed

    def _to_be(self, outcome: Outcome, placed: PendingResult, *, edited: Values | None) -> Values:
        """What the voxels shall hold by the rule; the layer's table then names all of it."""
        data, attributes, _ = outcome.labels
        merged = merge_tables(placed.table, attributes["metadata"][KEY]["table"])
        _check_fits(placed.layer, merged.table)
        set_table(placed.layer, merged.table)
        return merge_values(
            placed.before,
            renumber(data[placed.where], merged.values),
            rule=placed.rule or "overwrite",
            own=merged.values.values(),
            locked=shown_of(placed.layer).locked,
            edited=edited,
        )

    def _edited(self, placed: PendingResult) -> Values | None:
        """Voxels that the layer held otherwise after the last result in it."""
        result = self._results.get(placed.layer)
        if result is None or result.shape != placed.layer.data.shape:
            return None
        edited: Values = placed.before != result[placed.where]
        return edited

    def _remember(self, placed: PendingResult) -> None:
        self._results[placed.layer] = np.array(placed.layer.data)

    def _add(self, layer_tuple: tuple[Any, dict[str, Any], str]) -> Any:
        from napari.layers import Layer

        return self.viewer.add_layer(Layer.create(*layer_tuple))

    def _show_volumes(self, layer: Labels) -> None:
        data, attributes, _ = layer.as_layer_data_tuple()
        layer.features = features_of(labels_from_layer(data, attributes))


def _is_drawn(layer: Labels) -> bool:
    """Whether a person had a hand in what the layer holds."""
    data = np.asarray(layer.data)
    attributes = {"metadata": layer.metadata}
    return bool(data.any()) and maker_of(data, attributes).kind != "automatic"


def _record(outcome: Outcome, placed: PendingResult) -> None:
    """Take down the run whose result was merged into a layer."""
    run = outcome.labels[1]["metadata"].get(RUN_KEY)
    if run is not None:
        data = np.asarray(placed.layer.data)
        placed.layer.metadata[RUN_KEY] = with_run(data, placed.runs, run, drawn=placed.drawn)


def check_target(layer: Layer, scan: Layer) -> None:
    """Refuse to merge labels of a scan into a layer on another grid.

    Raises
    ------
    GeometryError
        When their voxels are not the same.
    """
    shape = scan.data.shape[:-1] if getattr(scan, "rgb", False) else scan.data.shape
    ours, theirs = ({"scale": one.scale, "translate": one.translate} for one in (layer, scan))
    if not same_place(layer.data.shape, ours, shape, theirs):
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
