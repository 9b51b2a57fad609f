"""Looking twice: something quick finds where the structures are, and the model looks only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from msgspec import structs

from medseg.errors import GeometryError, InputError
from medseg.inference.options import DEFAULT_OPTIONS, Options, Prediction, Roi
from medseg.inference.predictor import Predictor
from medseg.inference.roi import grown, is_apart, roi_on
from medseg.postprocessing import NO_POSTPROCESSING
from medseg.reading import read_labels
from medseg.runtime.device import Device
from medseg.runtime.progress import Progress, silent
from medseg.volume import Grid, LabelMap, Scan
from medseg.volume.bounding_box import bounding_box

COARSE = "coarse"
"""In place of a mask or a model: the model itself on voxels `COARSER` times as large."""
COARSER = 2
MARGIN_MM = 20.0
"""Around what was found; more than a voxel of any coarse look."""


@dataclass(frozen=True, eq=False)
class CoarseToFine:
    """A predictor that looks at the box where something else has found structures.

    Parameters
    ----------
    predictor : Predictor
    find : callable
        Labels of a scan, on any grid; what is not 0 is wanted.
    source : str
        What finds them, for a person.
    margin_mm : float
        Around the box, on each side.
    """

    predictor: Predictor
    find: Callable[[Scan, Progress], LabelMap]
    source: str
    margin_mm: float = MARGIN_MM

    @property
    def device(self) -> Device:
        """Where the predictor runs."""
        return self.predictor.device

    def run(
        self, scan: Scan, options: Options = DEFAULT_OPTIONS, *, progress: Progress = silent
    ) -> Prediction:
        """Label what is in the box, or the whole scan where nothing was found.

        A note of the labels' provenance says which. A box in `options` is taken as it is.

        Parameters
        ----------
        scan : Scan
        options : Options, optional
        progress : Progress, optional

        Raises
        ------
        InputError
            When the scan or the options do not fit the model, or the one that finds the box.
        GeometryError
            When what was found lies outside the scan.
        """
        if options.roi is not None:
            return self.predictor.run(scan, options, progress=progress)
        options.check(scan.grid, self.predictor.labels)
        roi = box_around(self.find(scan, progress), scan.grid, self.margin_mm)
        note = f"{self.source} found nothing, so the whole scan was looked at"
        if roi is not None:
            size = " x ".join(
                f"{(span.stop - span.start) * mm:.0f}"
                for span, mm in zip(roi, scan.grid.spacing_mm, strict=True)
            )
            note = (
                f"only a box of {size} mm was looked at, {self.margin_mm:g} mm around what"
                f" {self.source} found"
            )
        prediction = self.predictor.run(scan, replace(options, roi=roi), progress=progress)
        provenance = prediction.labels.provenance
        provenance = replace(provenance, notes=(*provenance.notes, note))
        return replace(prediction, labels=replace(prediction.labels, provenance=provenance))


def looking_only(
    predictor: Predictor,
    roi_from: str | Path | None,
    *,
    margin_mm: float = MARGIN_MM,
    device: str = "auto",
) -> Predictor | CoarseToFine:
    """A predictor that looks only where a mask, another model or a coarse look says.

    Parameters
    ----------
    predictor : Predictor
    roi_from : str or Path or None
        A file with labels; the name or folder of a model; or ``"coarse"``, the predictor's own
        model on voxels twice as large, without overlap of tiles. Without it all is looked at.
    margin_mm : float, optional
    device : str, default "auto"
        Of the other model.

    Raises
    ------
    MedsegError
        When the mask cannot be read or the model cannot be used.
    """
    if roi_from is None:
        return predictor
    if roi_from == COARSE:
        coarse = coarse_of(predictor)
        source = f"a coarse look at voxels {COARSER} times as large"
        return CoarseToFine(predictor, _labels_by(coarse), source, margin_mm)
    if Path(roi_from).is_file() and Path(roi_from).suffix != ".zip":
        mask = read_labels(roi_from)
        source = f"the mask '{Path(roi_from).name}'"
        return CoarseToFine(predictor, lambda *_: mask, source, margin_mm)
    finder = Predictor.load(roi_from, device=device)
    source = f"the model '{Path(roi_from).name}'"
    return CoarseToFine(predictor, _labels_by(finder), source, margin_mm)


def coarse_of(predictor: Predictor) -> Predictor:
    """The same network on voxels `COARSER` times as large, quick rather than exact.

    Raises
    ------
    InputError
        When the model is made of several, or of another program, whose plan is not its own.
    """
    if predictor.together is not None or predictor.chain is not None or predictor.previous:
        raise InputError(
            "a coarse look is there for models of one network and medseg's own plan; name a mask or"
            " another model in place of 'coarse'"
        )
    plan = predictor.plan
    i, j, k = (
        mm * (1 if n == plan.slice_axis else COARSER) for n, mm in enumerate(plan.spacing_mm)
    )
    coarser = structs.replace(plan, spacing_mm=(i, j, k), overlap=0.0)
    return replace(predictor, plan=coarser, postprocessing=NO_POSTPROCESSING)


def box_around(labels: LabelMap, grid: Grid, margin_mm: float) -> Roi | None:
    """The voxels of a grid around all labels; None where there are none.

    Parameters
    ----------
    labels : LabelMap
        On any grid.
    grid : Grid
    margin_mm : float
        Left around them on each side, as far as the grid reaches.

    Raises
    ------
    GeometryError
        When the labels lie outside the grid.
    """
    box = bounding_box(np.asarray(labels.values) > 0)
    if box is None:
        return None
    i, j, k = box
    if is_apart(grid, (i, j, k), labels.grid):
        raise GeometryError(
            "what the box is to be drawn around lies outside the scan; give a mask of this scan"
        )
    return grown(roi_on(grid, (i, j, k), labels.grid), grid, margin_mm)


def _labels_by(predictor: Predictor) -> Callable[[Scan, Progress], LabelMap]:
    return lambda scan, progress: predictor.predict(scan, progress=progress)
