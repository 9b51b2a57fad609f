"""Round off a label's surface."""

from __future__ import annotations

import numpy as np

from medseg.editing.edit import (
    UNLOCKED,
    Edit,
    Labels,
    Rules,
    Three,
    box_of,
    empty_edit,
    relabelled,
    voxels_within,
    widened,
)
from medseg.errors import InputError

_REACH = 3.0  # standard deviations after which a Gaussian is cut off


def smooth(
    values: Labels,
    value: int,
    *,
    sigma_mm: float,
    spacing_mm: Three,
    rules: Rules = UNLOCKED,
    keep_volume: bool = False,
) -> Edit:
    """Blur a label by a Gaussian and keep where more than half of it is left.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
    sigma_mm : float
        Standard deviation; bumps and gaps much narrower than it go, flat surfaces stay in place.
    spacing_mm : tuple of float
        Of the three axes.
    rules : Rules
        Which voxels may be taken.
    keep_volume : bool, default False
        Whether as many voxels are kept as there were, those where most is left, in place of those
        with more than half: round and thin labels then do not shrink.

    Raises
    ------
    InputError
        When `sigma_mm` is not above 0.
    LabelError
        When the label is locked.

    Notes
    -----
    Beyond the edge of the scan the label is taken to go on as it is at the edge.
    """
    from scipy.ndimage import gaussian_filter

    if not 0 < sigma_mm < np.inf:
        raise InputError(f"smoothing needs a width above 0 mm, got {sigma_mm:g}")
    rules.check_unlocked([value])
    label_box = box_of(values, value)
    if label_box is None:
        return empty_edit(values)
    box = widened(label_box, values.shape, voxels_within(sigma_mm, spacing_mm))
    mask = (values[box] == value).astype(np.float32)
    sigma = [sigma_mm / mm for mm in spacing_mm]
    blurred = gaussian_filter(mask, sigma, mode="nearest", truncate=_REACH)
    inside = blurred > 0.5
    if keep_volume:
        count = int(np.count_nonzero(mask))
        inside = blurred >= np.partition(blurred.ravel(), -count)[-count]
    return relabelled(values, box, inside, value=value, rules=rules)
