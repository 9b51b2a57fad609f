"""Which intensities a viewer or a figure shows from black to white."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.volume.scan import Scan

SOFT_TISSUE_HU = (-160.0, 240.0)
"""The usual window for soft tissue, width 400 HU around 40 HU."""

_SAMPLES = 200_000
_LEAST_SEEN = 0.2


def contrast_limits(scan: Scan) -> tuple[float, float]:
    """Black and white levels that suit the modality.

    Parameters
    ----------
    scan : Scan
        CT, or a scan of unknown modality whose values are Hounsfield units by their range, gets
        the soft tissue window; anything else its 0.5 and 99.5 percentiles.
    """
    sample = _finite_sample(scan.voxels)
    is_ct = scan.modality == "CT" or (not scan.modality and _looks_like_hounsfield(sample))
    return SOFT_TISSUE_HU if is_ct and sample.size else _percentiles(sample)


def intensity_limits(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Black and white levels of intensities, shape (..., I, J, K), by what they are alone."""
    return _percentiles(_finite_sample(values))


def hides(window: tuple[float, float], scan: Scan) -> bool:
    """Whether hardly any detail is seen in a window: all of a scan is about black, white or grey.

    Its 0.5 and 99.5 percentiles lie outside of the window, or within a fifth of it.
    """
    black, white = window
    low, high = np.clip(intensity_limits(scan.voxels), black, white)
    return bool(high - low < _LEAST_SEEN * (white - black))


def value_range(scan: Scan) -> tuple[float, float]:
    """Lowest and highest intensity of a sample of the voxels, for the ends of a slider."""
    sample = _finite_sample(scan.voxels)
    low, high = (float(sample.min()), float(sample.max())) if sample.size else (0.0, 1.0)
    return low, max(high, low + 1.0)


def _looks_like_hounsfield(sample: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Air below -500 and bone or contrast above 200 is found in CT and hardly elsewhere."""
    return bool(sample.size and -4096 <= sample.min() <= -500 and 200 <= sample.max() <= 32767)


def _percentiles(sample: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    if sample.size == 0:
        return 0.0, 1.0
    black, white = np.percentile(sample, (0.5, 99.5))
    return (float(black), float(white)) if white > black else (float(black), float(black) + 1.0)


def _finite_sample(values: npt.NDArray[Any]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    step = max(1, round((values.size / _SAMPLES) ** (1 / 3)))
    sample = values[..., ::step, ::step, ::step].astype(np.float64).ravel()
    return sample[np.isfinite(sample)]
