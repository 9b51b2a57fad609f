"""Scans that a model cannot know: one value, other sizes of voxels or scan, no contrast."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from medseg.errors import InputError
from medseg.planning import Plan
from medseg.preprocessing.placement import Placement
from medseg.volume import Scan

SPACING_RATIO = 3
"""How many times larger or smaller than the plan's a spacing is told."""
LENGTH_RATIO = 3
"""How many times longer or shorter than the training scans a scan is told."""
LEAST_CONTRAST = 0.05
"""Standard deviation of clipped intensities, in those of the model's structures, below which."""


def check_contrast(scan: Scan) -> None:
    """Raise `InputError` when every voxel of a scan has the same value."""
    value = scan.voxels.flat[0]
    if (scan.voxels == value).all() and scan.voxels.size > 1:
        raise InputError(
            f"every voxel of the scan is {value:g}, so there is nothing to segment; look at the"
            " file with medseg inspect, and export the scan again",
            code="CONSTANT",
        )


def warnings_about(
    scan: Scan, image_CIJK: Tensor, placement: Placement, plan: Plan
) -> tuple[str, ...]:
    """Sentences with numbers where a scan is far from what the plan was made for.

    Parameters
    ----------
    scan : Scan
    image_CIJK : torch.Tensor
        The scan as the network sees it.
    placement : Placement
        How it lies in the scan.
    plan : Plan
    """
    return (
        *_size(scan, placement, plan),
        *_spacing(scan, placement, plan),
        *_intensities(scan, image_CIJK, plan),
    )


def _size(scan: Scan, placement: Placement, plan: Plan) -> Iterator[str]:
    """A warning where what is left of a scan is far longer or shorter than the training scans."""
    if plan.scan_mm is None or not scan.provenance.has_physical_size:
        return
    grid = placement.reorientation.target
    ours = tuple(n * mm for n, mm in zip(grid.shape, grid.spacing_mm, strict=True))
    for axis, (mm, known_mm) in enumerate(zip(ours, plan.scan_mm, strict=True)):
        if axis != plan.slice_axis and max(mm / known_mm, known_mm / mm) > LENGTH_RATIO:
            yield (
                f"the scan is {_times(ours)} mm in size and the scans that the model learned from"
                f" are about {_times(plan.scan_mm)} mm, so its answer may be wrong; crop the scan"
                " as those were, or take another model"
            )
            return


def _spacing(scan: Scan, placement: Placement, plan: Plan) -> Iterator[str]:
    """A warning where voxels are far larger or smaller along an axis that the network sees."""
    if not scan.provenance.has_physical_size:
        return
    ours = placement.reorientation.target.spacing_mm
    for axis, (mm, planned_mm) in enumerate(zip(ours, plan.spacing_mm, strict=True)):
        if axis != plan.slice_axis and max(mm / planned_mm, planned_mm / mm) > SPACING_RATIO:
            yield (
                f"the scan's voxels are {_times(ours)} mm and the model works on"
                f" {_times(plan.spacing_mm)} mm, so its answer may be wrong"
            )
            return


def _intensities(scan: Scan, image_CIJK: Tensor, plan: Plan) -> Iterator[str]:
    """A warning for each channel without the contrast that the model knows."""
    rows = zip(plan.channels, plan.normalisation, scan.voxels, image_CIJK, strict=True)
    for name, rule, voxels, image_IJK in rows:
        low, high = voxels.min(), voxels.max()
        if low == high and voxels.size > 1:
            yield f"channel {name} is {low:g} in every voxel, so the answer may be wrong"
        elif (
            rule.scheme == "clip_zscore"
            and not plan.transforms
            and float(image_IJK.std()) < LEAST_CONTRAST
        ):
            yield (
                f"intensities of channel {name} ({low:g} to {high:g}) hardly differ within the"
                f" {rule.low:g} to {rule.high:g} that the model knows, so its answer may be wrong;"
                " check the units"
            )


def _times(lengths_mm: tuple[float, ...]) -> str:
    return " x ".join(f"{mm:.3g}" for mm in lengths_mm)
