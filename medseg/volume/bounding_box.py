"""The smallest box around a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Box = tuple[slice, ...]


def bounding_box(mask: npt.NDArray[Any]) -> Box | None:
    """The smallest box that holds a mask of any number of axes; None when it is empty."""
    box = []
    for axis in range(mask.ndim):
        # the first axis is reduced over all the others once; the next look at what is left
        others = tuple(other for other in range(mask.ndim) if other != axis)
        indices = np.flatnonzero(mask.any(axis=others))
        if not indices.size:
            return None
        span = slice(int(indices[0]), int(indices[-1]) + 1)
        mask = mask[(slice(None),) * axis + (span,)]
        box.append(span)
    return tuple(box)
