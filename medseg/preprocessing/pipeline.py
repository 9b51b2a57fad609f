"""A plan as MONAI transforms, and the two ways through them: a scan, a label map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation

from medseg.errors import GeometryError, InputError
from medseg.planning.plan import Plan
from medseg.preprocessing.own_transforms import Transform, apply_transforms
from medseg.preprocessing.placement import Placement
from medseg.preprocessing.transforms import PlannedNormalisation, SeparableSpacing
from medseg.volume.grid import Grid
from medseg.volume.label_map import LabelMap
from medseg.volume.scan import Scan


def preparation(plan: Plan, *, labels: bool = False) -> Compose:
    """The plan as a plain `monai.transforms.Compose` over a `MetaTensor` (C, I, J, K).

    Parameters
    ----------
    plan : Plan
    labels : bool, default False
        For label maps: no normalisation, labels stay labels.
    """
    steps: list[Any] = [
        Orientation(axcodes=plan.orientation, labels=None),
        SeparableSpacing(plan.spacing_mm, labels=labels),
    ]
    if not labels:
        steps.append(PlannedNormalisation(plan.normalisation))
    return Compose(steps)


def prepare_image(
    scan: Scan, plan: Plan, transforms: Sequence[Transform] = ()
) -> tuple[torch.Tensor, Placement]:
    """Network input of a scan, and how to bring labels back (the inverse transform).

    Parameters
    ----------
    scan : Scan
    plan : Plan
    transforms : sequence of callable, optional
        A person's own, after the plan's.

    Returns
    -------
    image_CIJK : torch.Tensor
        float32, on ``placement.prepared``.
    placement : Placement
        How it lies in the scan.

    Raises
    ------
    InputError
        When the scan has another number of channels than the plan, or NaN voxels, or one of
        `transforms` fails or moves voxels.
    GeometryError
        When the voxels did not come to lie where the plan puts them (a fault in medseg).
    """
    if scan.channels != len(plan.channels):
        raise InputError(
            f"the scan has {scan.channels} channel(s), the model expects"
            f" {len(plan.channels)} ({', '.join(plan.channels)})",
            code="CHANNELS",
        )
    scan.check_finite()
    placement = Placement.of(scan.grid, plan)
    voxels = scan.voxels
    if placement.straightening is not None:
        voxels = placement.straightening.apply(voxels)
    image = preparation(plan)(_meta(voxels, placement.reorientation.source))
    _check_grid(image, placement)
    prepared = apply_transforms(image.as_tensor(), transforms, grid=placement.prepared)
    return prepared, placement


def prepare_labels(labels: LabelMap, plan: Plan) -> npt.NDArray[Any]:
    """Labels on the grid the network sees, for training; shape (I, J, K) of ``prepared``."""
    placement = Placement.of(labels.grid, plan)
    values = labels.values
    if placement.straightening is not None:
        values = placement.straightening.apply_labels(values)
    prepared = preparation(plan, labels=True)(_meta(values[None], placement.reorientation.source))
    _check_grid(prepared, placement)
    return cast("npt.NDArray[Any]", prepared.as_tensor().numpy()[0])


def _meta(voxels: npt.NDArray[Any], grid: Grid) -> MetaTensor:
    """`voxels` as a MetaTensor; types torch has not become the next wider one."""
    if voxels.dtype == np.uint16:
        voxels = voxels.astype(np.int32)
    array = np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("="))
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return MetaTensor(tensor, affine=torch.from_numpy(grid.affine.copy()))


def _check_grid(prepared: MetaTensor, placement: Placement) -> None:
    """Two independent ways to the same grid: MONAI's trace and our placement must agree."""
    traced = Grid(tuple(prepared.shape[1:]), np.asarray(prepared.affine, np.float64))
    if not traced.same_as(placement.prepared, tolerance_mm=0.01):
        raise GeometryError(
            "the prepared voxels do not lie where the plan put them; this is a fault in medseg:"
            " please report it with the scan's size and orientation",
            code="SELF_CHECK",
        )
