"""Several models as one: their mean probability, the labels of each, or one around another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.inference.estimate import Estimate, Probe
from medseg.inference.oom_fallback import check_free
from medseg.inference.options import Options, Prediction
from medseg.inference.probability_maps import MOST
from medseg.inference.roi import outside
from medseg.runtime.progress import Progress
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.volume.bounding_box import Box, bounding_box

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor

Shares = npt.NDArray[np.uint16]
Way = Literal["mean", "parts"]


@dataclass(frozen=True, eq=False)
class Together:
    """Models that answer together.

    Parameters
    ----------
    models : tuple of Predictor
    way : {"mean", "parts"}
        Whether they know the same labels and the mean of their probabilities counts, or each knows
        some of the labels, and where several find one, that of the last counts.
    """

    models: tuple[Predictor, ...]
    way: Way

    def run(
        self, whole: Predictor, scan: Scan, options: Options, *, progress: Progress
    ) -> Prediction:
        """Label a scan by all models.

        Parameters
        ----------
        whole : Predictor
            With the labels of the result, and the steps after it.
        scan : Scan
        options : Options
        progress : Progress

        Raises
        ------
        InputError
            When maps of parts are asked for, which know nothing of each other's labels, or the
            sums of probabilities do not fit into memory.
        """
        if self.way == "parts":
            return self._parts(whole, scan, options, progress)
        check_free(
            self._sums_bytes(scan.grid), "the probabilities of all labels for the whole scan"
        )
        asked = replace(
            options, postprocessing=(), probabilities=True, uncertainty=False, probability_of=""
        )
        total: Shares | None = None
        notes: tuple[str, ...] = ()
        for number, model in enumerate(self.models):
            result = model.run(scan, asked, progress=self._numbered(number, progress))
            assert result.probabilities is not None
            notes += result.labels.provenance.notes
            total = (
                result.probabilities.voxels.astype(np.uint16)
                if total is None
                else np.add(total, result.probabilities.voxels, out=total)
            )
        assert total is not None
        return _answer(whole, scan, options, total, len(self.models), notes)

    def _parts(
        self, whole: Predictor, scan: Scan, options: Options, progress: Progress
    ) -> Prediction:
        if options.uncertainty or options.probability_of or options.probabilities:
            raise InputError(
                f"the model is made of {len(self.models)} parts, which know nothing of each other's"
                " labels, so there are no probabilities of all; take one part's folder for its own"
            )
        classes: npt.NDArray[np.uint8] = np.zeros(scan.grid.shape, np.uint8)
        notes: tuple[str, ...] = ()
        for number, model in enumerate(self.models):
            part = model.run(scan, options, progress=self._numbered(number, progress)).labels
            notes += part.provenance.notes
            own = _lookup(part.table, whole.labels)[part.values]
            np.copyto(classes, own, where=own > 0)
        return Prediction(_labels(whole, scan, classes, notes))

    def _numbered(self, number: int, progress: Progress) -> Progress:
        """Progress that tells which of the models is at work."""

        def numbered(done: int, total: int, message: str, /) -> None:
            progress(done, total, f"model {number + 1} of {len(self.models)}, {message}")

        return numbered

    def _sums_bytes(self, grid: Grid) -> int:
        """Sums of the probabilities of all labels on a scan's voxels; parts have none."""
        if self.way == "parts":
            return 0
        outputs = self.models[0].plan.outputs(self.models[0].labels)
        return outputs * prod(grid.shape) * np.dtype(np.uint16).itemsize

    def probe(self) -> Probe:
        """A tile of each."""
        probes = tuple(model.probe() for model in self.models)
        return Probe(
            max(probe.tile_s for probe in probes),
            max(probe.peak_bytes for probe in probes),
            sum(probe.weights_bytes for probe in probes),
            inside=probes,
        )

    def estimate(self, grid: Grid, options: Options, probe: Probe) -> Estimate:
        """Tiles and time of all; the memory of the largest, beside the weights of all."""
        asked = replace(options, probabilities=options.probabilities or self.way == "mean")
        rows = zip(self.models, probe.inside, strict=True)
        each = [model.estimate(grid, asked, probe=own) for model, own in rows]
        return Estimate(
            sum(own.tiles for own in each),
            sum(own.seconds for own in each),
            max(own.device_bytes for own in each) + probe.weights_bytes,
            max(own.main_bytes for own in each) + self._sums_bytes(grid),
        )


@dataclass(frozen=True, eq=False)
class Around:
    """A box around structures that a model finds, in which alone another one looks.

    Parameters
    ----------
    model : Predictor
        Finds them.
    labels : tuple of str
        Their names.
    margin_mm : float
        Around the box that holds them.
    """

    model: Predictor
    labels: tuple[str, ...]
    margin_mm: float

    def run(
        self, inside: Predictor, scan: Scan, options: Options, *, progress: Progress
    ) -> Prediction:
        """Label what lies in the box; the rest is background, and all where nothing was found.

        Parameters
        ----------
        inside : Predictor
            Sees the scan cut to the box, as if there were no more of it.
        scan : Scan
        options : Options
        progress : Progress
        """
        seen = self.model.predict(scan, progress=progress)
        values = [label.value for label in seen.table if label.name in self.labels]
        box = bounding_box(np.isin(seen.values, values))
        if box is None:
            note = f"none of {', '.join(self.labels)} was found, so there was nowhere to look"
            return _whole(None, scan, inside, _everything(scan.grid), options, (note,))
        box = _grown(box, scan.grid, self.margin_mm)
        cut = replace(scan, voxels=scan.voxels[(slice(None), *box)], grid=scan.grid.cropped(box))
        result = inside.run(cut, replace(options, roi=None), progress=progress)
        return _whole(result, scan, inside, box, options, result.labels.provenance.notes)

    def estimate(self, inside: Estimate, grid: Grid, probe: Probe) -> Estimate:
        """The looking for structures first, and at most what all of the scan takes then.

        Parameters
        ----------
        inside : Estimate
            Of the whole scan by the model that looks around them.
        grid : Grid
        probe : Probe
            Of the model that finds them.
        """
        first = self.model.estimate(grid, probe=probe)
        return Estimate(
            first.tiles + inside.tiles,
            first.seconds + inside.seconds,
            max(first.device_bytes, inside.device_bytes + probe.weights_bytes),
            max(first.main_bytes, inside.main_bytes),
        )


def _everything(grid: Grid) -> Box:
    i, j, k = grid.shape
    return slice(0, i), slice(0, j), slice(0, k)


def _grown(box: Box, grid: Grid, margin_mm: float) -> Box:
    rows = zip(box, grid.shape, grid.spacing_mm, strict=True)
    i, j, k = (
        slice(max(0, cut.start - int(margin_mm / mm)), min(size, cut.stop + int(margin_mm / mm)))
        for cut, size, mm in rows
    )
    return i, j, k


def _whole(
    result: Prediction | None,
    scan: Scan,
    inside: Predictor,
    box: Box,
    options: Options,
    notes: Sequence[str],
) -> Prediction:
    """A prediction in a box on the whole scan, and 0 outside it and outside the person's box."""
    notes = tuple(dict.fromkeys((*scan.provenance.notes, *notes)))
    provenance = replace(scan.provenance, notes=notes)

    def spread(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        out = np.zeros((*values.shape[:-3], *scan.grid.shape), values.dtype)
        i, j, k = box
        out[..., i, j, k] = values
        if options.roi is not None:
            out[..., outside(options.roi, scan.grid.shape)] = 0
        return out

    def map_of(cut: Scan | None) -> Scan | None:
        if cut is None:
            return None
        voxels = spread(cut.voxels)
        if cut.channel_names and not inside.own_classes:
            voxels[0][~voxels.any(axis=0)] = MOST
        return replace(cut, voxels=voxels, grid=scan.grid, provenance=provenance)

    if result is None:
        empty = np.zeros(scan.grid.shape, np.uint8)
        return Prediction(LabelMap(empty, scan.grid, inside.labels, provenance))
    return Prediction(
        LabelMap(spread(result.labels.values), scan.grid, inside.labels, provenance),
        map_of(result.uncertainty),
        map_of(result.probability),
        map_of(result.probabilities),
    )


def _answer(
    whole: Predictor,
    scan: Scan,
    options: Options,
    total: Shares,
    models: int,
    notes: Sequence[str],
) -> Prediction:
    """Labels and maps from sums of probabilities in 255ths."""
    most = models * MOST
    classes = np.zeros(scan.grid.shape, np.uint8)
    if whole.own_classes:
        for own, shares in zip(whole.own_classes, total, strict=True):
            classes[2 * shares.astype(np.uint32) > most] = own
        doubt = most - np.abs(2 * total.astype(np.int32) - most).min(axis=0)
        wrong = doubt / (2 * most)
    else:
        classes = total.argmax(axis=0).astype(np.uint8)
        wrong = 1 - total.max(axis=0) / most
    channel = whole.channel_of(options.probability_of)
    labels = _labels(whole, scan, classes, notes)
    names = whole.labels.names
    regions = tuple(names[own - 1] for own in whole.own_classes)

    def map_of(share: npt.NDArray[Any]) -> Scan:
        percents = np.rint(100 * share).astype(np.uint8)[None]
        return Scan(percents, scan.grid, provenance=labels.provenance)

    return Prediction(
        labels,
        map_of(wrong) if options.uncertainty else None,
        None if channel is None else map_of(total[channel] / most),
        Scan(
            np.rint(total / models).astype(np.uint8),
            scan.grid,
            provenance=labels.provenance,
            channel_names=regions or ("background", *names),
        )
        if options.probabilities
        else None,
    )


def _labels(
    whole: Predictor, scan: Scan, classes: npt.NDArray[np.uint8], notes: Sequence[str]
) -> LabelMap:
    """A label map after the steps on labels; notes that several models give are told once."""
    refined = whole.postprocessing.labels(classes, spacing_mm=scan.grid.spacing_mm)
    value_of = np.array((0, *whole.labels.values))
    value_of = value_of.astype(np.uint8 if value_of.max() < 256 else np.uint16)
    provenance = replace(
        scan.provenance, notes=tuple(dict.fromkeys((*scan.provenance.notes, *notes)))
    )
    return LabelMap(value_of[refined], scan.grid, whole.labels, provenance)


def _lookup(part: LabelTable, whole: LabelTable) -> npt.NDArray[np.uint8]:
    """Class in the whole table of every value of a part's; 0 for labels that it does not have."""
    lookup = np.zeros(max(part.values, default=0) + 1, np.uint8)
    for label in part:
        if label.name in whole.names:
            lookup[label.value] = whole.names.index(label.name) + 1
    return lookup
