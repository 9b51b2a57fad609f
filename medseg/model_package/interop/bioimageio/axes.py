"""Axes of a tensor of bioimage.io: their order, sizes and channels, in format 0.4 and 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medseg.errors import PackageError

_LARGEST = {2: 512, 3: 128}
"""Voxels along an axis that the network is shown at once, where the model leaves it open."""


@dataclass(frozen=True)
class Axes:
    """Axes in order, as letters: b batch, c channels, z, y, x.

    Parameters
    ----------
    order : str
    sizes : dict of str to (int, int)
        Smallest size and step of the axes of space; step 0 where the size is fixed.
    channels : int
    channel_names : tuple of str
        Empty where they are not given.
    """

    order: str
    sizes: dict[str, tuple[int, int]]
    channels: int
    channel_names: tuple[str, ...] = ()

    @property
    def spatial(self) -> str:
        """Letters of the axes of space, in order."""
        return "".join(axis for axis in self.order if axis in "zyx")

    def tile(self) -> tuple[int, ...]:
        """Voxels along the axes of space that the network is shown at once."""
        largest = _LARGEST[len(self.spatial)]
        tile = []
        for axis in self.spatial:
            least, step = self.sizes[axis]
            tile.append(least + max(0, (largest - least) // step) * step if step else least)
        return tuple(tile)


def axes_of(tensor: dict[str, Any], where: str) -> Axes:
    """The axes of an input or output.

    Raises
    ------
    PackageError
        When there are others than batch, channels and two or three of space.
    """
    given: Any = tensor.get("axes")
    try:
        axes = _letters(tensor, given) if isinstance(given, str) else _listed(given)
    except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
        raise _refusal(where, given) from error
    if sorted(axes.spatial) not in (["x", "y"], ["x", "y", "z"]) or set(axes.order) - set("bczyx"):
        raise _refusal(where, given)
    return axes


def _letters(tensor: dict[str, Any], order: str) -> Axes:
    """Of format 0.4: ``axes: bcyx`` and ``shape``, a list or smallest sizes and steps."""
    shape = tensor["shape"]
    if isinstance(shape, list):
        sizes = [(int(n), 0) for n in shape]
    elif "min" in shape:
        sizes = [(int(n), int(s)) for n, s in zip(shape["min"], shape["step"], strict=True)]
    else:  # of an output: as its input; twice the offset of the channels is their number
        sizes = [(int(2 * n), 0) for n in shape["offset"]]
    by_axis = dict(zip(order, sizes, strict=True))
    channels = by_axis.get("c", (1, 0))[0]
    return Axes(order, {axis: by_axis[axis] for axis in order if axis in "zyx"}, channels)


def _listed(axes: list[dict[str, Any]]) -> Axes:
    """Of format 0.5: a list of typed axes."""
    order = ""
    sizes: dict[str, tuple[int, int]] = {}
    names: tuple[str, ...] = ()
    for axis in axes:
        kind = axis["type"]
        letter = {"batch": "b", "channel": "c"}.get(kind, str(axis.get("id", "")))
        order += letter
        if kind == "channel":
            names = tuple(str(name) for name in axis["channel_names"])
        elif kind == "space":
            sizes[letter] = _size(axis["size"])
    return Axes(order, sizes, len(names) or 1, names)


def _size(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, 0
    if "min" in size:
        return int(size["min"]), int(size["step"])
    if size.get("offset", 0):
        raise ValueError(size)
    return 1, 1


def _refusal(where: str, axes: Any) -> PackageError:
    return PackageError(
        f"'{where}' has a tensor with axes {str(axes)[:200]}; medseg takes batch, channels and two"
        " or three axes of space, x, y and z, of sizes that follow the input's",
        code="UNKNOWN_STEP",
    )
