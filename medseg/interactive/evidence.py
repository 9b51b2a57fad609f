"""What speaks for a structure at a voxel: the mask before, the prompts near by, the intensity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.editing import ball
from medseg.interactive.lattice import Geodesics, Numbers
from medseg.interactive.marks import Mark, Signs
from medseg.interactive.region import Floats, Mask, Three
from medseg.volume.bounding_box import Box

BEFORE = 1.5
"""Log odds of a voxel deep inside the mask that was there before."""
SURFACE_VOXELS = 1.5
"""How deep below its surface that mask is believed, in voxels of the smallest spacing."""
NOTHING = 1.0
"""Log odds against a structure of which nothing was drawn before."""
PROMPT = 3.0
"""Log odds at a prompt; they fall as a Gaussian whose width is its reach."""
WIDTHS = 2.5
"""Of its reach: farther away a prompt says nothing."""
CONTRAST = 0.7
"""By how much of itself a step of one usual difference lengthens the way from a prompt."""
INTENSITY = 0.7
"""Weight of the log ratio of the histograms inside and outside, which is within -2..2."""
_BINS = 24


def normalised(image: npt.NDArray[Any]) -> Floats:
    """Intensities of a box from 0 to 1, each channel between its 1st and 99th percentile.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
        Values that are not finite count as the lowest.
    """
    channels = []
    for channel in image.astype(np.float32):
        finite = channel[np.isfinite(channel)]
        low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
        filled = np.where(np.isfinite(channel), channel, low)
        channels.append(np.clip((filled - low) / max(high - low, 1e-6), 0, 1))
    return np.stack(channels).astype(np.float32)


def from_mask(mask: Mask, spacing_mm: Three) -> Numbers:
    """Log odds from a mask: sure inside and outside, undecided at its surface."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return np.full(mask.shape, -NOTHING)
    finest_mm = min(spacing_mm)
    inside = distance_transform_edt(mask, spacing_mm)
    outside = distance_transform_edt(~mask, spacing_mm)
    depth_mm = np.where(mask, inside - finest_mm / 2, finest_mm / 2 - outside)
    log_odds: Numbers = BEFORE * np.tanh(depth_mm / (SURFACE_VOXELS * finest_mm))
    return log_odds


def from_probability(probability: npt.NDArray[Any]) -> Numbers:
    """Log odds from a network's probability, no surer than a mask is believed to be."""
    clipped = np.clip(np.nan_to_num(probability.astype(np.float64)), 1e-3, 1 - 1e-3)
    log_odds: Numbers = np.clip(np.log(clipped / (1 - clipped)), -BEFORE, BEFORE)
    return log_odds


def from_prompts(
    image: Floats, marks: Sequence[Mark], label: int, where: Box, spacing_mm: Three
) -> Numbers:
    """Log odds that fall with the way from each prompt for and against the structure.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
        Of the box `where`.
    marks : sequence of Mark
    label : int
    where : tuple of slice
    spacing_mm : tuple of float
    """
    ways = Geodesics.through(image, spacing_mm, contrast=CONTRAST)
    footprint = ball(min(spacing_mm), spacing_mm)
    log_odds: Numbers = np.zeros(image.shape[1:])
    for mark in marks:
        sign = mark.sign_for(label)
        if sign and mark.prompt.kind != "box":
            sources = np.zeros(log_odds.shape, np.int8)
            mark.paint_around(sources, where, 1, footprint)
            if sources.any():
                away_mm = ways.length_mm(sources > 0, farthest_mm=WIDTHS * mark.reach_mm)
                log_odds += sign * PROMPT * np.exp(-((away_mm / mark.reach_mm) ** 2))
        elif sign > 0:
            log_odds += PROMPT * _bump(mark.box, where) - NOTHING
    return log_odds


def _bump(box: Box, where: Box) -> Numbers:
    """1 in the middle of a box, falling as a Gaussian to 1/e at its faces."""
    squares: Any = 0.0
    for axis, (span, outer) in enumerate(zip(box, where, strict=True)):
        centres = np.arange(outer.start, outer.stop)
        middle, half = (span.start + span.stop - 1) / 2, (span.stop - span.start) / 2
        shape = [1] * len(box)
        shape[axis] = -1
        squares = squares + (((centres - middle) / half) ** 2).reshape(shape)
    return np.exp(-np.asarray(squares, np.float64))


def from_intensity(image: Floats, inside: Mask) -> Numbers:
    """Log odds of an intensity by the histograms of what is taken for the structure and the rest.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
        From 0 to 1.
    inside : ndarray of bool, shape (I, J, K)

    Returns
    -------
    ndarray, shape (I, J, K)
        The mean over the channels; 0 when one of the two is empty.
    """
    from scipy.ndimage import gaussian_filter1d

    log_odds: Numbers = np.zeros(inside.shape)
    if inside.all() or not inside.any():
        return log_odds
    for channel in image:
        bins = np.minimum((channel * _BINS).astype(np.int64), _BINS - 1)
        shares = []
        for part in (inside, ~inside):
            counts = np.bincount(bins[part], minlength=_BINS).astype(np.float64)
            smooth = gaussian_filter1d(counts, 1.0) + 1
            shares.append(smooth / smooth.sum())
        log_odds += INTENSITY * np.clip(np.log(shares[0] / shares[1]), -2, 2)[bins]
    return log_odds / len(image)


def log_odds_of(
    image: Floats, before: Numbers, prompts: Numbers, seeds: Signs, previous: Mask
) -> Floats:
    """All of it together, for a box.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
    before, prompts : ndarray, shape (I, J, K)
        Of the mask or network before the first prompt, and of the prompts.
    seeds : ndarray of int8, shape (I, J, K)
    previous : ndarray of bool, shape (I, J, K)
        The structure now.
    """
    likely = ((previous | (prompts > PROMPT / 2)) & (seeds >= 0)) | (seeds > 0)
    return (before + prompts + from_intensity(image, likely)).astype(np.float32)
