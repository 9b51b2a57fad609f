"""How values come to other voxel counts in a model whose training resampled in another way."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from medseg.errors import PlanError

Spacing = tuple[float, float, float]
_ANISOTROPY = 3.0


class Interpolation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one kind of values is interpolated, as in nnU-Net v2.

    Parameters
    ----------
    order : {0, 1, 3}
        Nearest, linear, or cubic spline.
    order_across : {0, 1, 3}
        The same across slices that are thick, where these are resampled one by one first.
    separate_across : bool or None
        Whether slices are thick; None: where spacings differ by more than `anisotropy`.
    anisotropy : float
        The largest over the smallest spacing.
    torch : bool
        By `torch.nn.functional.interpolate`, in single precision, instead of scikit-image.

    References
    ----------
    Isensee et al., nnU-Net, Nature Methods 18, 2021: resampling of anisotropic images.
    """

    order: Literal[0, 1, 3] = 3
    order_across: Literal[0, 1, 3] = 0
    separate_across: bool | None = None
    anisotropy: Annotated[float, msgspec.Meta(ge=1)] = _ANISOTROPY
    torch: bool = False

    def axis_across(self, current_mm: Spacing, target_mm: Spacing) -> int | None:
        """Axis along which slices are thick; None where all axes are resampled alike.

        Parameters
        ----------
        current_mm, target_mm : tuple of float
            Spacing before and after, in mm.
        """
        if self.separate_across is False:
            return None
        if self.separate_across:
            return _longest(current_mm)
        for spacing_mm in (current_mm, target_mm):
            if max(spacing_mm) / min(spacing_mm) > self.anisotropy:
                return _longest(spacing_mm)
        return None


class Resampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a scan comes to the network's spacing, and what the network says back to the scan's.

    Parameters
    ----------
    image : Interpolation
    logits : Interpolation
        Linear or nearest.
    labels : Interpolation
        Of the labels that a network before gave, for the next; linear or nearest.
    """

    image: Interpolation = Interpolation()
    logits: Interpolation = Interpolation(order=1)
    labels: Interpolation = Interpolation(order=1)

    def __post_init__(self) -> None:
        for word, way in (("logits", self.logits), ("labels", self.labels)):
            if 3 in (way.order, way.order_across):
                raise PlanError(
                    f"{word} are resampled by a cubic spline (order 3) in this plan; order 1"
                    " (linear) and 0 (nearest) can be used"
                )


def _longest(spacing_mm: Spacing) -> int | None:
    """The axis of the largest spacing; None where two share it."""
    axes = [axis for axis, mm in enumerate(spacing_mm) if mm == max(spacing_mm)]
    return axes[0] if len(axes) == 1 else None
