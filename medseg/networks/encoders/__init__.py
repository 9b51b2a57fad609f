"""Encoders, one file each: an image in, five features of falling resolution out."""

from __future__ import annotations

from typing import Literal

import msgspec

from medseg.errors import PlanError
from medseg.networks.encoders.protocol import Encoder, Layout
from medseg.planning.stages import Axes
from medseg.runtime import registry

PACKAGE = "medseg.networks.encoders"
LEVELS = 5


class EncoderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which encoder, how wide, and where it strides.

    Parameters
    ----------
    name : str
        A file of this package.
    width : float
        Factor on the published channel counts.
    strides : tuple of tuple of int
        Step into each of the five levels along each axis; empty means 2 everywhere.
    output_stride : int or None
        Where the product of the steps along an axis would pass this number, the encoder dilates
        instead of striding (Chen et al., DeepLab, TPAMI 2018). None: never.
    norm : {"instance", "batch"}
        Normalisation after convolutions. Published ImageNet weights need ``batch``.
    """

    name: str = "resnet18"
    width: float = 1.0
    strides: tuple[Axes, ...] = ()
    output_stride: int | None = None
    norm: Literal["instance", "batch"] = "instance"


def names() -> tuple[str, ...]:
    """Names of the encoders there are."""
    return registry.names(PACKAGE)


def build_encoder(settings: EncoderSettings, *, spatial_dims: int, in_channels: int) -> Encoder:
    """The encoder that `settings` ask for, freshly made (not yet initialised).

    Raises
    ------
    PlanError
        When the name is unknown, or steps and output stride do not fit together.
    """
    module = registry.load(PACKAGE, settings.name)
    layout = plan_layout(settings, spatial_dims=spatial_dims)
    encoder: Encoder = module.build(
        layout, in_channels=in_channels, width=settings.width, norm=settings.norm
    )
    return encoder


def plan_layout(settings: EncoderSettings, *, spatial_dims: int) -> Layout:
    """Steps and dilations of the five levels.

    Raises
    ------
    PlanError
        When there are not five steps of `spatial_dims` numbers from 1 to 2, when the output
        stride is no power of two, or the width is not positive.
    """
    strides = settings.strides or ((2,) * spatial_dims,) * LEVELS
    if len(strides) != LEVELS or any(len(step) != spatial_dims for step in strides):
        raise PlanError(
            f"an encoder needs {LEVELS} strides of {spatial_dims} numbers, got {strides}"
        )
    if any(number not in (1, 2) for step in strides for number in step):
        raise PlanError(f"an encoder's strides are 1 or 2 along each axis, got {strides}")
    limit = settings.output_stride
    if limit is not None and (limit < 1 or limit & (limit - 1)):
        raise PlanError(f"output stride {limit} is no power of two; use 4, 8, 16 or 32")
    if settings.width <= 0:
        raise PlanError(f"the width of an encoder must be positive, got {settings.width:g}")
    return _dilated(strides, limit)


def _dilated(strides: tuple[Axes, ...], limit: int | None) -> Layout:
    """Turn every step that would pass the output stride into a dilation, axis by axis."""
    reduction = [1] * len(strides[0])
    dilation = [1] * len(strides[0])
    steps, dilations, reductions = [], [], []
    for stride in strides:
        step = list(stride)
        for axis, number in enumerate(stride):
            if limit is not None and reduction[axis] * number > limit:
                step[axis] = 1
                dilation[axis] *= number
            reduction[axis] *= step[axis]
        steps.append(tuple(step))
        dilations.append(tuple(dilation))
        reductions.append(tuple(reduction))
    return Layout(tuple(steps), tuple(dilations), tuple(reductions))
