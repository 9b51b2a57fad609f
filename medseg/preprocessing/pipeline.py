"""A plan as MONAI transforms: from files to what the network sees, and back.

`pipeline` is the dictionary form, which begins with ``LoadImaged(reader=MedsegReader)``;
`array_pipeline` is the form for one image in memory. Both are made of one list of steps. Whatever
goes through keeps its meta, and ``Compose.inverse`` or `monai.transforms.Invertd` bring it back to
the scan's own voxels.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy.typing as npt
import torch
from monai.data import ImageReader
from monai.transforms import Compose, LoadImaged, Orientation, Orientationd

from medseg.errors import InputError, MedsegError, PlanError
from medseg.planning.plan import Plan
from medseg.preprocessing.normalisation import PlannedNormalisation, PlannedNormalisationd
from medseg.preprocessing.own_transforms import (
    OwnTransform,
    OwnTransformd,
    Transform,
    flattened,
)
from medseg.preprocessing.placement import Placement
from medseg.preprocessing.planned_grid import (
    NativeAxes,
    NativeAxesd,
    PlannedSpacing,
    PlannedSpacingd,
)
from medseg.preprocessing.transforms import (
    CheckGrid,
    CheckGridd,
    CheckImage,
    CheckImaged,
    CropPadding,
    CropPaddingd,
    SeparableSpacing,
    SeparableSpacingd,
    Straighten,
    Straightend,
    cropped_box,
)
from medseg.reading.monai_reader import (
    LoadLabelsd,
    MedsegReader,
    as_meta_tensor,
    labels_as_meta_tensor,
)
from medseg.volume.bounding_box import Box
from medseg.volume.label_map import LabelMap
from medseg.volume.scan import Scan

Step = tuple[Any, Any, dict[str, Any]]
"""Array form and dictionary form of a transform, and the options of both."""


class Pipeline(Compose):  # type: ignore[misc]
    """A `monai.transforms.Compose` that raises what medseg raises, and not MONAI's wrapping."""

    def __call__(self, input_: Any, *args: Any, **options: Any) -> Any:
        """Run all transforms.

        Raises
        ------
        MedsegError
            When the scan cannot be read or does not fit the plan.
        """
        try:
            return super().__call__(input_, *args, **options)
        except RuntimeError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, MedsegError | KeyError):
                cause = cause.__cause__
            if isinstance(cause, KeyError):
                raise InputError(f"the pipeline was not given what it reads: {cause}") from error
            if cause is None:
                raise
            raise cause from cause.__cause__


def pipeline(
    plan: Plan,
    *,
    image: Hashable = "image",
    label: Hashable | None = None,
    reader: ImageReader | None = None,
    read_labels: Callable[[Path, Scan], LabelMap] | None = None,
    transforms: Sequence[Transform] = (),
    lazy: bool | None = False,
) -> Pipeline:
    """From files to network input: a dictionary Compose that begins with ``LoadImaged``.

    Parameters
    ----------
    plan : Plan
    image : hashable, default "image"
        Key of the path of a scan; of the paths of its channels, where they are files of their own.
    label : hashable, optional
        Key of the path of its label map, where there is one.
    reader : monai.data.ImageReader, optional
        In place of ``MedsegReader()``: one that repairs, or chooses a series.
    read_labels : callable, optional
        Takes a path and the scan, in place of `medseg.reading.read_labels`.
    transforms : sequence of callable, optional
        Your own, on the image, after those of the plan; they keep every voxel where it is and are
        not random. What crops or draws comes after the pipeline.
    lazy : bool or None, default False
        As `monai.transforms.Compose` takes it.

    Returns
    -------
    Pipeline
        Gives MetaTensors: float32 of shape (C, I, J, K) for `image`, integers of shape
        (1, I, J, K) for `label`. Their meta is that of `medseg.reading.monai_reader.meta_of`.
    """
    steps: list[Any] = [_load(image, reader or MedsegReader())]
    if label is not None:
        steps.append(LoadLabelsd(label, like=image, read=read_labels))
        steps += _keyed(label, plan, labels=True, like=image)
    steps += _keyed(image, plan)
    steps += [OwnTransformd(image, transform) for transform in flattened(transforms)]
    return Pipeline(steps, lazy=lazy)


def _load(key: Hashable, reader: ImageReader) -> LoadImaged:
    # LoadImage makes one of every reader that MONAI has, and they warn of what they miss
    log = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            return LoadImaged(key, reader, dtype=None, image_only=True, ensure_channel_first=True)
    finally:
        log.setLevel(level)


def array_pipeline(
    plan: Plan,
    *,
    labels: bool = False,
    box: Box | None = None,
    transforms: Sequence[Transform] = (),
) -> Pipeline:
    """The same for one `monai.data.MetaTensor` (C, I, J, K) in memory.

    Parameters
    ----------
    plan : Plan
    labels : bool, default False
        For label maps: no normalisation, labels stay labels.
    box : tuple of slice, optional
        For label maps and a plan that crops: what was left of their scan, as `Placement.box`.
    transforms : sequence of callable, optional
        As for `pipeline`.

    Raises
    ------
    PlanError
        When the plan crops and label maps have no `box`.
    """
    if labels and box is None and plan.crop != "none":
        raise PlanError(
            "the plan crops scans, and labels as their scan: give its box=placement.box"
        )
    cropping: dict[str, Any] = {"box": box}
    steps = [array(**options) for array, _, options in _steps(plan, cropping, labels=labels)]
    return Pipeline([*steps, *map(OwnTransform, flattened(transforms))])


def _keyed(
    key: Hashable, plan: Plan, *, labels: bool = False, like: Hashable | None = None
) -> list[Any]:
    steps = _steps(plan, {"like": like}, labels=labels)
    return [keyed(key, **options) for _, keyed, options in steps]


def _steps(plan: Plan, cropping: dict[str, Any], *, labels: bool) -> list[Step]:
    """The steps of a plan, with the options of the one that crops."""
    cropping = cropping | {"nonzero": plan.crop == "nonzero"}
    crop: list[Step] = [(CropPadding, CropPaddingd, cropping)] if plan.crop != "none" else []
    to_grid: list[Step] = [
        (Straighten, Straightend, {"labels": labels}),
        _turning(plan),
        _spacing(plan, labels=labels),
        (CheckGrid, CheckGridd, {"plan": plan}),
    ]
    if labels:
        return [*crop, *to_grid]
    rest = _normalising(plan, nonzero=False)
    first, last = (rest, []) if plan.normalise_first else ([], rest)
    return [
        (CheckImage, CheckImaged, {"channels": plan.channels}),
        *crop,
        *_normalising(plan, nonzero=True),
        *first,
        *to_grid,
        *last,
    ]


def _turning(plan: Plan) -> Step:
    if plan.native_axes:
        return NativeAxes, NativeAxesd, {"order": plan.orientation}
    return Orientation, Orientationd, {"axcodes": plan.orientation, "labels": None}


def _spacing(plan: Plan, *, labels: bool) -> Step:
    if plan.resampling is not None:
        return PlannedSpacing, PlannedSpacingd, {"plan": plan, "labels": labels}
    return SeparableSpacing, SeparableSpacingd, {"pixdim": plan.spacing_mm, "labels": labels}


def _normalising(plan: Plan, *, nonzero: bool) -> list[Step]:
    """The step of the channels' rules of one kind; nothing where no channel has one."""
    options = {
        "rules": plan.normalisation,
        "nonzero": nonzero,
        "enclosed": plan.crop == "nonzero",
    }
    wanted = any(rule.nonzero == nonzero for rule in plan.normalisation)
    return [(PlannedNormalisation, PlannedNormalisationd, options)] if wanted else []


def prepare_image(
    scan: Scan, plan: Plan, transforms: Sequence[Transform] = ()
) -> tuple[torch.Tensor, Placement]:
    """Network input of a scan in memory, and how to bring labels back (the inverse transform).

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
    image = array_pipeline(plan, transforms=transforms)(as_meta_tensor(scan))
    return image.as_tensor(), Placement.of(scan.grid, plan, cropped_box(image))


def prepare_labels(labels: LabelMap, plan: Plan, box: Box | None = None) -> npt.NDArray[Any]:
    """Labels on the grid the network sees, for training; shape (I, J, K) of ``prepared``.

    Parameters
    ----------
    labels : LabelMap
    plan : Plan
    box : tuple of slice, optional
        For a plan that crops: ``placement.box`` of the scan.
    """
    prepared = array_pipeline(plan, labels=True, box=box)(labels_as_meta_tensor(labels))
    return cast("npt.NDArray[Any]", prepared.as_tensor().numpy()[0])
