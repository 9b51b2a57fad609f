"""What may be asked of a predictor besides labels of the whole scan, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.errors import GeometryError, InputError, LabelError
from medseg.planning import Component
from medseg.volume import Grid, LabelMap, LabelTable, Scan

Roi = tuple[slice, slice, slice]
"""Voxels of a scan along I, J, K; each slice has a start and a stop."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a scan is to be labelled; the defaults are the model's own way.

    Parameters
    ----------
    roi : tuple of slice, optional
        Voxels of the scan to look at; those outside stay background. Intensities are still
        normalised over the whole scan, so labels in the box are those of the whole run.
    overlap : float, optional
        In place of the plan's; 0 is the quickest and least exact.
    postprocessing : tuple of Component, optional
        Steps after the network, in place of the model's own; none when empty.
    uncertainty : bool
        Whether to map how probable it is that a label is wrong, as the network sees it.
    probability_of : str
        Name of the label whose probability is to be mapped; none when empty.
    probabilities : bool
        Whether to map the probability of every class.
    """

    roi: Roi | None = None
    overlap: float | None = None
    postprocessing: tuple[Component, ...] | None = None
    uncertainty: bool = False
    probability_of: str = ""
    probabilities: bool = False

    def check(self, grid: Grid, labels: LabelTable) -> None:
        """Refuse what does not fit a scan and a model.

        Raises
        ------
        GeometryError
            When the box is empty or reaches out of the scan.
        InputError
            When the overlap is not below 1.
        LabelError
            When the model has no label of that name.
        """
        if self.roi is not None:
            _check_box(self.roi, grid)
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise InputError(f"overlap must lie in 0..1 (1 excluded), got {self.overlap}")
        if self.probability_of and self.probability_of not in labels.names:
            raise LabelError(
                f"the model gives no label '{self.probability_of}'; it gives:"
                f" {', '.join(labels.names)}"
            )


DEFAULT_OPTIONS = Options()
"""Nothing besides labels of the whole scan."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a predictor answers.

    Parameters
    ----------
    labels : LabelMap
        On the scan's grid. Notes of its provenance say what was done when memory ran out.
    uncertainty : Scan or None
        On the same grid: whole per cent of probability that the label is wrong, 0 to 100.
    probability : Scan or None
        On the same grid: whole per cent of probability of the label that was asked for.
    probabilities : Scan or None
        On the same grid, uint8: a channel for the background and each label (each region, in
        models of regions), named in ``channel_names``; a value over 255 is the probability. It is
        the network's, after steps on probabilities and before those on labels. Voxels that were
        not looked at are background.
    backend : str
        Which library ran the network and the numbers it was chosen by; empty for torch alone.
    """

    labels: LabelMap
    uncertainty: Scan | None = None
    probability: Scan | None = None
    probabilities: Scan | None = None
    backend: str = ""


def _check_box(roi: Roi, grid: Grid) -> None:
    for span, size, axis in zip(roi, grid.shape, "IJK", strict=True):
        if not 0 <= span.start < span.stop <= size:
            raise GeometryError(
                f"the box goes from {span.start} to {span.stop} along {axis}, where the scan has"
                f" {size} voxels; draw it inside the scan"
            )
