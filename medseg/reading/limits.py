"""What a file may honestly hold: bytes for its size, one channel of labels, values with a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError, ReadError
from medseg.volume import Label, LabelTable
from medseg.volume.label_map import present_values
from medseg.volume.label_table import default_color

_MOST_UNNAMED = 1000
_LARGE = 256 << 20
_MOST_GROWTH = 500


def check_growth(path: Path, expected: int) -> None:
    """Raise `ReadError` when a file cannot honestly hold what its header promises.

    Parameters
    ----------
    path : Path
        The file, compressed or not.
    expected : int
        Bytes (or voxels) that it is said to hold. Even label maps with a single structure grow
        less than 500 times; an empty one may grow 1000 times, which is allowed up to 256 MiB.
    """
    size = path.stat().st_size
    if expected > max(_LARGE, _MOST_GROWTH * size):
        raise ReadError(
            f"{path.name} has {size} bytes and would grow to {expected} or more; its header is"
            " wrong, or it is made to fill the memory",
            code="TOO_LARGE",
        )


def single_channel(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The one channel of `array`, shape (C, I, J, K), or `LabelError`."""
    if array.shape[0] != 1:
        raise LabelError(
            f"it holds {array.shape[0]} channels or time points, a label map has one; if they are"
            " probabilities, take their argmax first"
        )
    channel: npt.NDArray[Any] = array[0]
    return channel


def completed(named: tuple[Label, ...], values: npt.NDArray[Any]) -> LabelTable:
    """A table of the `named` labels, plus "label n" for every other value that is present.

    Raises
    ------
    LabelError
        When more than a thousand values have no name: nobody draws so many structures.
    """
    rows = {label.value: label for label in named}
    names = {label.name for label in named}
    unnamed = [value for value in present_values(values) if value and value not in rows]
    if len(unnamed) > _MOST_UNNAMED:
        raise LabelError(
            f"it holds {len(unnamed)} different values, so it looks like an intensity image; give"
            " a label map"
        )
    for value in unnamed:
        name = f"label {value}"
        while name in names:
            name += "'"
        rows[value] = Label(value=value, name=name, color=default_color(value - 1))
    return LabelTable(tuple(rows[value] for value in sorted(rows)))


def float32_unless_integer(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Integers as they are, in the machine's byte order; every other real number as float32."""
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if np.iscomplexobj(array):
        return array
    return array.astype(np.float32)
