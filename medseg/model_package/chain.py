"""A model of another program as a chain of steps by name: what a plan cannot say, as data.

Only the steps of these tables exist, most of them MONAI's transforms and inferers of that name.
Their settings are numbers, words and lists; `medseg.inference.chain_run` makes them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from medseg.errors import PackageError
from medseg.planning.plan import Component

_INTERPOLATED = {"mode", "padding_mode", "align_corners", "dtype"}
PROCESSING: dict[str, set[str]] = {
    "binarize": {"threshold"},
    "clip": {"min", "max"},
    "ensure_dtype": {"dtype"},
    "fixed_zero_mean_unit_variance": {"mean", "std", "eps"},
    "scale_linear": {"gain", "offset"},
    "scale_mean_variance": {"by_channel", "eps"},
    "scale_range": {"by_channel", "min_percentile", "max_percentile", "eps"},
    "sigmoid": set(),
    "softmax": set(),
    "zero_mean_unit_variance": {"by_channel", "eps"},
}
"""Steps of bioimage.io, before and after the network; formulas of its specification."""
BEFORE: dict[str, set[str]] = {
    **PROCESSING,
    "CastToTyped": {"dtype"},
    "CenterSpatialCropd": {"roi_size"},
    "CropForegroundd": {"margin", "allow_smaller", "k_divisible", "mode", "channel_indices"},
    "DivisiblePadd": {"k", "mode", "method"},
    "EnsureTyped": {"data_type", "dtype", "track_meta"},
    "NormalizeIntensityd": {"subtrahend", "divisor", "nonzero", "channel_wise", "dtype"},
    "Orientationd": {"axcodes", "as_closest_canonical", "labels"},
    "ResizeWithPadOrCropd": {"spatial_size", "mode", "method"},
    "Resized": {
        *("spatial_size", "size_mode", "mode", "align_corners"),
        *("anti_aliasing", "anti_aliasing_sigma", "dtype"),
    },
    "ScaleIntensityRangePercentilesd": {
        *("lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise", "dtype"),
    },
    "ScaleIntensityRanged": {"a_min", "a_max", "b_min", "b_max", "clip", "dtype"},
    "ScaleIntensityd": {"minv", "maxv", "factor", "channel_wise", "dtype"},
    "Spacingd": {
        *("pixdim", "diagonal", "scale_extent", "recompute_affine", "min_pixdim", "max_pixdim"),
        *_INTERPOLATED,
    },
    "SpatialPadd": {"spatial_size", "mode", "method"},
    "ThresholdIntensityd": {"threshold", "above", "cval"},
}
"""Transforms between a scan and the network, with the settings they may have."""
AFTER: dict[str, set[str]] = {
    **PROCESSING,
    "Activationsd": {"sigmoid", "softmax"},
    "AsDiscreted": {"argmax", "to_onehot", "threshold", "rounding"},
    "FillHolesd": {"applied_labels", "connectivity"},
    "Foreground": set(),
    "Invertd": {"nearest_interp"},
    "LargestAbove": {"threshold"},
    "KeepLargestConnectedComponentd": {
        *("applied_labels", "independent", "connectivity", "num_components", "is_onehot"),
    },
    "Overlay": {"order"},
    "RemoveSmallObjectsd": {"min_size", "connectivity", "independent_channels"},
}
"""Likewise from the network to labels. `Foreground` leaves out the first channel; `Overlay` gives
each voxel the value of the first pair (channel, value) whose channel is above 0 there;
`LargestAbove` the number of the largest channel, from 1, where that is above the threshold."""
_DISCRETE = {"AsDiscreted", "LargestAbove", "binarize"}
_WINDOW = {"roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval"}
INFERERS: dict[str, set[str]] = {
    "AxesWindow": {"axes", "output_axes", *_WINDOW},
    "BoxThenWhole": set(),
    "SimpleInferer": set(),
    "SliceInferer": {"spatial_dim", *_WINDOW},
    "SlidingWindowInferer": _WINDOW,
}
"""How the network goes over a scan; all are MONAI's but `BoxThenWhole`, which is deepbet's,
and `AxesWindow`, a sliding window for tensors whose axes have the order of these letters."""
NETWORKS = ("BasicUNet", "DynUNet", "FlexibleUNet", "SegResNet", "SwinUNETR", "UNet")
"""Of MONAI, that a chain may have."""


class Chain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From scan to labels by the steps of another program.

    Parameters
    ----------
    before, after : tuple of Component
        Steps of `BEFORE` and `AFTER`, in order.
    inferer : Component
        One of `INFERERS`.
    outputs : tuple of str
        For each channel of the network the label that it stands for, ``""`` for the background.
    half : bool
        Whether a GPU computes in 16 bits.

    Raises
    ------
    PackageError
        When a step or a setting is not in the tables, or no labels come of them.
    """

    before: tuple[Component, ...]
    inferer: Component
    after: tuple[Component, ...]
    outputs: tuple[str, ...]
    half: bool = False

    def __post_init__(self) -> None:
        for steps, table in (
            (self.before, BEFORE),
            ((self.inferer,), INFERERS),
            (self.after, AFTER),
        ):
            for step in steps:
                _check(step, table)
        if not any(step.name in _DISCRETE for step in self.after):
            raise PackageError(
                "the steps of the model lead to no labels: one of them must be"
                f" {', '.join(sorted(_DISCRETE))}",
                code="UNKNOWN_STEP",
            )

    @property
    def halves(self) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
        """The steps after the network that work on its channels, and those from labels on."""
        first = next(n for n, step in enumerate(self.after) if step.name in _DISCRETE)
        return self.after[:first], self.after[first:]


def _check(step: Component, table: dict[str, set[str]]) -> None:
    if step.name not in table:
        raise PackageError(
            f"the step '{step.name}' of a model is none that medseg takes from other programs; it"
            f" takes: {', '.join(table)}",
            code="UNKNOWN_STEP",
        )
    strange = sorted(set(step.settings) - table[step.name])
    if strange:
        raise PackageError(
            f"the setting '{strange[0]}' of the step '{step.name}' is none that medseg takes from"
            f" other programs; it takes: {', '.join(sorted(table[step.name])) or 'none'}",
            code="UNKNOWN_STEP",
        )
    for name, value in step.settings.items():
        if not _is_plain(value):
            raise PackageError(
                f"the setting '{name}' of the step '{step.name}' is {str(value)[:80]!r}; it must be"
                " a number, a word or a list of them",
                code="UNKNOWN_STEP",
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, bool | int | float | str)
