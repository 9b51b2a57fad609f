"""Which unlabelled scan to correct next: the one a model is least sure about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from medseg.runtime.progress import Progress, silent
from medseg.volume import Scan

if TYPE_CHECKING:
    from medseg.inference import Predictor

BORDER_VOXELS = 2
"""How far around the predicted structures doubt counts."""


class Uncertainty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sure a model is of its labels in a scan.

    Parameters
    ----------
    mean_percent : float
        Mean probability, in per cent, that a label is wrong, within the predicted structures and
        their border; over the whole scan when nothing was found.
    found_ml : float
        Volume of all that was found.
    """

    mean_percent: float
    found_ml: float


def mean_uncertainty(
    predictor: Predictor, scan: Scan, *, progress: Progress = silent
) -> Uncertainty:
    """Label a scan and measure how sure the model is.

    Parameters
    ----------
    predictor : Predictor
    scan : Scan
        Of the kind the model expects.
    progress : Progress, optional
        Called for every tile; may raise `Cancelled`.

    Notes
    -----
    The probability that a label is wrong is one minus the largest class probability ("least
    confidence", Lewis and Gale, SIGIR 1994), as the network states it, uncalibrated.
    """
    from scipy import ndimage

    from medseg.inference import Options

    prediction = predictor.run(scan, Options(uncertainty=True), progress=progress)
    inside = prediction.labels.values > 0
    around = ndimage.binary_dilation(inside, iterations=BORDER_VOXELS)
    if prediction.uncertainty is None:
        raise AssertionError("an uncertainty map was asked for")
    doubts = (
        prediction.uncertainty.voxels[0][around] if around.any() else prediction.uncertainty.voxels
    )
    return Uncertainty(
        mean_percent=float(np.mean(doubts, dtype=np.float64)),
        found_ml=int(inside.sum()) * scan.grid.voxel_volume_mm3 / 1000.0,
    )
