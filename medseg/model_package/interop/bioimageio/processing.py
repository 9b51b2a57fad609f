"""Pre- and postprocessing of bioimage.io as components of a chain."""

from __future__ import annotations

from typing import Any

from medseg.errors import PackageError
from medseg.model_package.chain import PROCESSING
from medseg.model_package.interop.bioimageio.axes import Axes
from medseg.planning.plan import Component

_REFERENCE = "reference_tensor"


def processing_of(steps: Any, axes: Axes, where: str) -> tuple[Component, ...]:
    """The steps on one tensor, in order.

    Parameters
    ----------
    steps : list or None
        ``id`` (format 0.5) or ``name`` (0.4) with ``kwargs``.
    axes : Axes
        Of the tensor.
    where : str
        The description, for messages.

    Raises
    ------
    PackageError
        When one is not in `PROCESSING`, or is not over all of space.
    """
    made = []
    for step in steps or []:
        name = step.get("id", step.get("name")) if isinstance(step, dict) else step
        if name not in PROCESSING:
            raise PackageError(
                f"'{where}' asks for the processing '{name}', which medseg does not do; it does:"
                f" {', '.join(PROCESSING)}",
                code="UNKNOWN_STEP",
            )
        settings = dict(step.get("kwargs") or {})
        mode = settings.pop("mode", "per_sample")
        if name == "zero_mean_unit_variance" and mode == "fixed":
            name = "fixed_zero_mean_unit_variance"
        elif mode not in ("per_sample", "fixed"):
            raise PackageError(f"'{where}': {name} {mode}", code="UNKNOWN_STEP")
        if settings.pop(_REFERENCE, None) not in (None, "self") and name != "scale_mean_variance":
            raise PackageError(
                f"'{where}': {name} by another tensor, which medseg does not do",
                code="UNKNOWN_STEP",
            )
        if "axes" in settings:
            settings["by_channel"] = _by_channel(settings.pop("axes"), axes, where)
        axis = settings.pop("axis", "channel")
        if axis not in ("channel", "c") and not isinstance(axis, int):
            raise PackageError(f"'{where}': {name} along '{axis}'", code="UNKNOWN_STEP")
        made.append(Component(name=name, settings=settings))
    return tuple(made)


def _by_channel(given: Any, axes: Axes, where: str) -> bool:
    """Whether a statistic over these axes is one for each channel; it must be over all of space."""
    names = {"channel": "c", "batch": "b"}
    letters = {names.get(str(axis), str(axis)) for axis in given}
    if set(axes.spatial) - letters:
        raise PackageError(
            f"'{where}' has statistics over the axes {given}; medseg takes those over all of space",
            code="UNKNOWN_STEP",
        )
    return "c" in axes.order and "c" not in letters
