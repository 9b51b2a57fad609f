"""What a dataset looks like: sizes, spacings and foreground intensities."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from medseg.errors import InputError
from medseg.volume.conventions import RAS, Reorientation
from medseg.volume.label_map import LabelMap
from medseg.volume.scan import Scan

SAMPLES_PER_CASE = 10_000


class Intensities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Foreground intensities of one channel over all cases.

    Parameters
    ----------
    mean, std, low, high : float
        Mean, standard deviation, 0.5th and 99.5th percentile.
    """

    mean: float
    std: float
    low: float
    high: float


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes, spacings and intensities of a dataset; axes in RAS order.

    Parameters
    ----------
    shapes : tuple of tuple of int
        Voxel counts of each case.
    spacings_mm : tuple of tuple of float
    modality : str
        DICOM modality word all cases share, or ``""``.
    intensities : tuple of Intensities
    channels : tuple of str
        Names of the channels, where the dataset has some.
    """

    shapes: tuple[tuple[int, int, int], ...]
    spacings_mm: tuple[tuple[float, float, float], ...]
    modality: str
    intensities: tuple[Intensities, ...]
    channels: tuple[str, ...] = ()


def take_fingerprint(cases: Iterable[tuple[Scan, LabelMap]], *, seed: int = 0) -> Fingerprint:
    """Look at every case once.

    Parameters
    ----------
    cases : iterable of (Scan, LabelMap)
        Scan and truth on the same grid.
    seed : int
        Of the intensity sample (at most 10,000 foreground voxels a case).

    Raises
    ------
    InputError
        When there is no case, or the cases differ in channels.
    """
    rng = np.random.default_rng(seed)
    shapes, spacings, samples, modalities = [], [], [], set()
    names: tuple[str, ...] = ()
    for scan, truth in cases:
        grid = Reorientation.towards(scan.grid, RAS).target
        shapes.append(grid.shape)
        spacings.append(grid.spacing_mm)
        modalities.add(scan.modality)
        names = scan.channel_names
        samples.append(_foreground(scan, truth, rng))
    if not samples:
        raise InputError("the dataset holds no case to plan for")
    channels = {sample.shape[0] for sample in samples}
    if len(channels) > 1:
        raise InputError(f"cases differ in their number of channels: {sorted(channels)}")
    return Fingerprint(
        shapes=tuple(shapes),
        spacings_mm=tuple(spacings),
        modality=modalities.pop() if len(modalities) == 1 else "",
        intensities=_summarise(np.concatenate(samples, axis=1)),
        channels=names,
    )


def _foreground(scan: Scan, truth: LabelMap, rng: np.random.Generator) -> np.ndarray:
    """Intensities, shape (C, n), at up to `SAMPLES_PER_CASE` labelled voxels (any if none is)."""
    labelled = truth.values != 0
    if truth.table.ignored is not None:
        labelled &= truth.values != truth.table.ignored
    labelled_voxels = np.flatnonzero(labelled)
    if labelled_voxels.size == 0:
        labelled_voxels = np.arange(truth.values.size)
    sample = rng.choice(labelled_voxels, min(SAMPLES_PER_CASE, labelled_voxels.size), replace=False)
    intensities: np.ndarray = scan.voxels.reshape(scan.channels, -1)[:, sample].astype(np.float64)
    return intensities


def _summarise(samples: np.ndarray) -> tuple[Intensities, ...]:
    low, high = np.percentile(samples, (0.5, 99.5), axis=1)
    return tuple(
        Intensities(
            mean=float(values.mean()),
            std=float(values.std()),
            low=float(low[channel]),
            high=float(high[channel]),
        )
        for channel, values in enumerate(samples)
    )
