"""Voxels that nobody judged are left out before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.volume import LabelMap


def leave_out_ignored(prediction: LabelMap, truth: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Both maps with background where the truth is labelled "ignore".

    Parameters
    ----------
    prediction : LabelMap
    truth : LabelMap
        Its table may hold a label named "ignore".

    Returns
    -------
    tuple of LabelMap
        Prediction and truth, whose table has lost that label; the same objects when it had none.
    """
    if truth.table.ignored is None:
        return prediction, truth
    ignored = truth.values == truth.table.ignored
    reference = replace(truth, values=_blank(truth.values, ignored), table=truth.table.structures)
    return replace(prediction, values=_blank(prediction.values, ignored)), reference


def _blank(values: npt.NDArray[Any], ignored: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """A copy in the same memory order, with background where `ignored`."""
    blanked = values.copy(order="K")
    blanked[ignored] = 0
    return blanked
