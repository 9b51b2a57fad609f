"""What a dataset looks like: sizes, spacings and foreground intensities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from medseg.errors import InputError
from medseg.volume.bounding_box import content_box
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
        Voxel counts of each case, without the padding around it.
    spacings_mm : tuple of tuple of float
    modality : str
        DICOM modality word all cases share, or ``""``.
    intensities : tuple of Intensities
    channels : tuple of str
        Names of the channels, where the dataset has some.
    kept : float
        Median share of a case's voxels that is left without the padding.
    """

    shapes: tuple[tuple[int, int, int], ...]
    spacings_mm: tuple[tuple[float, float, float], ...]
    modality: str
    intensities: tuple[Intensities, ...]
    channels: tuple[str, ...] = ()
    kept: float = 1.0


class CaseSketch(msgspec.Struct, frozen=True, kw_only=True):
    """What a fingerprint needs of one case; axes in RAS order.

    Parameters
    ----------
    shape : tuple of int
        Without padding.
    spacing_mm : tuple of float
    kept : float
        Share of the voxels that is left without padding.
    modality : str
    channels : tuple of str
        Their names, where the dataset has some.
    samples : ndarray, shape (C, n)
        Intensities at some labelled voxels, of the scan's own type.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    modality: str
    channels: tuple[str, ...]
    samples: np.ndarray
    kept: float = 1.0


def sketch_case(scan: Scan, truth: LabelMap, *, seed: int = 0) -> CaseSketch:
    """Look at a case.

    Parameters
    ----------
    scan : Scan
    truth : LabelMap
        On the same grid.
    seed : int
        Of the intensity sample (at most 10,000 foreground voxels).
    """
    content = scan.grid.cropped(content_box(scan.voxels))
    grid = Reorientation.towards(content, RAS).target
    return CaseSketch(
        shape=grid.shape,
        spacing_mm=grid.spacing_mm,
        modality=scan.modality,
        channels=scan.channel_names,
        samples=_foreground(scan, truth, np.random.default_rng(seed)),
        kept=math.prod(content.shape) / math.prod(scan.grid.shape),
    )


def take_fingerprint(cases: Iterable[tuple[Scan, LabelMap]], *, seed: int = 0) -> Fingerprint:
    """Look at every case once; see `fingerprint_of`.

    Parameters
    ----------
    cases : iterable of (Scan, LabelMap)
        Scan and truth on the same grid.
    seed : int
        Of the intensity sample of each case.
    """
    return fingerprint_of([sketch_case(scan, truth, seed=seed) for scan, truth in cases])


def fingerprint_of(sketches: Sequence[CaseSketch]) -> Fingerprint:
    """A dataset's fingerprint from what was seen of its cases.

    Raises
    ------
    InputError
        When there is no case, or the cases differ in channels.
    """
    if not sketches:
        raise InputError("the dataset holds no case to plan for")
    channels = {sketch.samples.shape[0] for sketch in sketches}
    if len(channels) > 1:
        raise InputError(f"cases differ in their number of channels: {sorted(channels)}")
    modalities = {sketch.modality for sketch in sketches}
    samples = [sketch.samples.astype(np.float64) for sketch in sketches]
    return Fingerprint(
        shapes=tuple(sketch.shape for sketch in sketches),
        spacings_mm=tuple(sketch.spacing_mm for sketch in sketches),
        modality=modalities.pop() if len(modalities) == 1 else "",
        intensities=_summarise(np.concatenate(samples, axis=1)),
        channels=sketches[-1].channels,
        kept=float(np.median([sketch.kept for sketch in sketches])),
    )


def _foreground(scan: Scan, truth: LabelMap, rng: np.random.Generator) -> np.ndarray:
    """Intensities, shape (C, n), at up to `SAMPLES_PER_CASE` labelled voxels (any if none is)."""
    labelled = truth.values != 0
    if truth.table.ignored is not None:
        labelled &= truth.values != truth.table.ignored
    labelled_voxels = np.flatnonzero(labelled)
    among = labelled_voxels if labelled_voxels.size else labelled.size
    count = min(SAMPLES_PER_CASE, labelled_voxels.size or labelled.size)
    i, j, k = np.unravel_index(rng.choice(among, count, replace=False), labelled.shape)
    intensities: np.ndarray = scan.voxels[:, i, j, k]
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
