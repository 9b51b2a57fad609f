"""Where every DICOM pixel lies and what it is worth, by its own header: independent of readers.

A pixel in row r and column c of a frame lies (PS3.3 C.7.6.2.1.1, LPS+ mm) at
``position + row_direction * spacing[1] * c + column_direction * spacing[0] * r``. A volume is
right when the voxel there has the rescaled value. Nothing of medseg is imported here.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
SAMPLES = 300
_SAME_IMAGE = 0.99  # correlation


@dataclass(frozen=True)
class Volume:
    """What a reader made: values (I, J, K) and the affine from indices to RAS+ mm."""

    values: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Frame:
    """What a header says: values (rows, columns) and place, None where the file does not say.

    `ignored` marks padding, whose value is for the reader to choose.
    """

    values: np.ndarray | None
    plane: np.ndarray | None  # (3, 3): origin, step of a column index, step of a row index; RAS+
    ignored: np.ndarray | None = None

    def world(self, pixels: np.ndarray) -> np.ndarray:
        """RAS+ mm of pixels (row, column); shape (n, 3)."""
        origin, across, down = self.plane
        return origin + pixels[:, 1:] * across + pixels[:, :1] * down


@dataclass(frozen=True)
class Judgement:
    """Against all frames: the largest displacement, wrong pixels, and frames found nowhere."""

    displacement_mm: float
    wrong: float
    lost: int
    misread: int  # frames that are in a volume, but not in their place or with other values

    @property
    def exact(self) -> bool:
        """Whether every frame is in its place with its values."""
        return self.wrong == 0 and self.lost == 0 and self.displacement_mm < 0.1


def frames_below(folder: Path) -> list[Frame]:
    """Every frame of every DICOM image at or below a folder."""
    paths = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    return [frame for path in paths if path.is_file() for frame in frames_of(path)]


def frames_of(path: Path) -> list[Frame]:
    """The frames of a file; none when it is no image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, force=True)
        if "Rows" not in ds or "PixelData" not in ds or ds.get("Modality") == "SEG":
            return []
        return list(_frames(ds))


def even_run(folder: Path) -> list[Path]:
    """The files of a folder's longest run of evenly spaced slices, in order."""
    places = []
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        row, column = np.reshape(ds.ImageOrientationPatient, (2, 3)).astype(float)
        depth = float(np.cross(row, column) @ np.array(ds.ImagePositionPatient, float))
        places.append((depth, path))
    places.sort()
    gaps = np.round(np.diff([depth for depth, _ in places]), 1)
    edges = [0, *(np.flatnonzero(np.diff(gaps)) + 1), len(gaps)]
    start, end = max(itertools.pairwise(edges), key=lambda run: run[1] - run[0])
    return [path for _, path in places[start : end + 1]]


def frames_of_volume(volume: Volume) -> list[Frame]:
    """The planes of a volume along its last axis, as frames: a reference file as the truth."""
    axes, origin = volume.affine[:3, :3], volume.affine[:3, 3]
    return [
        Frame(volume.values[:, :, k].T, np.array([origin + k * axes[:, 2], axes[:, 0], axes[:, 1]]))
        for k in range(volume.values.shape[2])
    ]


def _frames(ds: pydicom.Dataset) -> Iterator[Frame]:
    stored = _stored(ds)
    for number in range(int(ds.get("NumberOfFrames", 1) or 1)):
        own = ds.get("PerFrameFunctionalGroupsSequence", [pydicom.Dataset()] * (number + 1))[number]
        shared = ds.get("SharedFunctionalGroupsSequence", [pydicom.Dataset()])[0]
        groups = (own, shared)
        if stored is None:
            yield Frame(None, _plane(ds, groups))
            continue
        padding = ds.get("PixelPaddingValue")
        ignored = None if padding is None else stored[number] == padding
        yield Frame(_rescaled(stored[number], ds, groups), _plane(ds, groups), ignored)


def _group(name: str, ds: pydicom.Dataset, groups: Sequence[pydicom.Dataset]) -> Any:
    for group in groups:
        if group.get(name):
            return group[name][0]
    return ds


def _plane(ds: pydicom.Dataset, groups: Sequence[pydicom.Dataset]) -> np.ndarray | None:
    position = _group("PlanePositionSequence", ds, groups).get("ImagePositionPatient")
    directions = _group("PlaneOrientationSequence", ds, groups).get("ImageOrientationPatient")
    spacing = _group("PixelMeasuresSequence", ds, groups).get("PixelSpacing")
    if not position or not directions or not spacing:
        return None
    row, column = np.array(directions, float).reshape(2, 3)
    plane = [position, row * float(spacing[1]), column * float(spacing[0])]
    return np.array(plane, float) * LPS_TO_RAS


def _stored(ds: pydicom.Dataset) -> np.ndarray | None:
    """Stored values, shape (frames, rows, columns), only the bits that count; None if damaged."""
    if not getattr(ds, "file_meta", None) or "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        ds.ensure_file_meta()
        ds.file_meta.TransferSyntaxUID = plain if little else ExplicitVRBigEndian
    try:
        pixels = ds.pixel_array
    except Exception:  # noqa: BLE001 - whatever the decoder says: there is no such image
        return None
    if ds.SamplesPerPixel > 1:
        pixels = pixels[..., 0]
    pixels = np.reshape(pixels, (-1, ds.Rows, ds.Columns))
    spare = pixels.dtype.itemsize * 8 - int(ds.HighBit) - 1
    if pixels.dtype.kind not in "iu" or ds.HighBit + 1 != ds.BitsStored or spare <= 0:
        return pixels
    return (pixels << spare) >> spare  # arithmetic for signed values


def _rescaled(stored: np.ndarray, ds: pydicom.Dataset, groups: Any) -> np.ndarray:
    if ds.get("ModalityLUTSequence"):
        table = ds.ModalityLUTSequence[0]
        count, first, _ = table.LUTDescriptor
        index = np.clip(stored.astype(np.int64) - first, 0, count - 1)
        return np.asarray(table.LUTData, float)[index]
    rescale = _group("PixelValueTransformationSequence", ds, groups)
    slope, intercept = rescale.get("RescaleSlope", 1), rescale.get("RescaleIntercept", 0)
    return stored * float(1 if slope is None else slope) + float(intercept or 0)


def judge(volumes: Sequence[Volume], frames: Sequence[Frame], *, seed: int = 0) -> Judgement:
    """Look for random pixels of every frame at their places in the volumes.

    Each frame is held against the volume that has most of it right, so that several volumes
    (phases, series) may share the frames. Its displacement is the distance of its corners from
    where the volume that holds the same image puts them.
    """
    random = np.random.default_rng(seed)
    wrong, apart, lost, misread = [], [0.0], 0, 0
    for frame in frames:
        if frame.values is None or frame.plane is None:
            wrong.append(1.0)
            lost += 1
            continue
        pixels = _sample(frame, random)
        share = min((_share_wrong(volume, frame, pixels) for volume in volumes), default=1.0)
        moved = _displacement(volumes, frame, pixels)
        wrong.append(share)
        lost += moved is None and share > 0
        misread += moved is not None and (share > 0 or moved > 0.1)
        apart.append(moved or 0.0)
    return Judgement(max(apart), float(np.mean(wrong)) if wrong else 0.0, lost, misread)


def true_places(volume: Volume, frames: Sequence[Frame]) -> np.ndarray:
    """Where each voxel belongs, by the header of the frame whose image its plane shows.

    RAS+ mm, shape (I, J, K, 3); NaN in planes that show no frame.
    """
    random = np.random.default_rng(0)
    places = np.full((*volume.values.shape, 3), np.nan)
    for frame in frames:
        if frame.values is None or frame.plane is None:
            continue
        pixels = _sample(frame, random)
        truth = frame.values[tuple(pixels.T)].astype(float)
        best, plane = _SAME_IMAGE, None
        for way, likeness in _arrangements(volume, frame.values.shape, pixels, truth):
            if likeness.max() > best:
                best, plane = float(likeness.max()), (*way, int(likeness.argmax()))
        if plane is not None:
            row_axis, column_axis, through, flips, k = plane
            everywhere = np.indices(frame.values.shape).reshape(2, -1).T
            world = frame.world(everywhere).reshape(*frame.values.shape, 3)
            turned = np.flip(world, np.flatnonzero(flips))
            places.transpose(row_axis, column_axis, through, 3)[:, :, k] = turned
    return places


def _sample(frame: Frame, random: np.random.Generator) -> np.ndarray:
    """Random pixels and the corners, (row, column), without padding."""
    shape = np.array(frame.values.shape)
    pixels = np.concatenate([random.integers(0, shape, (SAMPLES, 2)), _corners(shape)])
    if frame.ignored is None:
        return pixels
    return pixels[~frame.ignored[tuple(pixels.T)]]


def _corners(shape: Sequence[int]) -> np.ndarray:
    return np.array(list(itertools.product((0, shape[0] - 1), (0, shape[1] - 1))))


def _share_wrong(volume: Volume, frame: Frame, pixels: np.ndarray) -> float:
    """Share of pixels that are not at their place with their value."""
    offset = frame.world(pixels) - volume.affine[:3, 3]
    try:
        index = offset @ np.linalg.inv(volume.affine[:3, :3]).T
    except np.linalg.LinAlgError:
        return 1.0
    near = np.round(index).astype(np.int64)
    inside = ((near >= 0) & (near < volume.values.shape)).all(axis=1)
    off = np.linalg.norm((index - near) @ volume.affine[:3, :3].T, axis=1)
    right = inside & (off < 0.1)
    truth = frame.values[tuple(pixels.T)]
    found = volume.values[tuple(near[right].T)]
    close = np.isclose(found, truth[right], rtol=1e-4, atol=1e-3)
    return 1.0 - float(np.count_nonzero(close)) / len(pixels)


def _displacement(volumes: Sequence[Volume], frame: Frame, pixels: np.ndarray) -> float | None:
    """How far from its place the plane with this image lies, mm; None when no plane has it."""
    truth = frame.values[tuple(pixels.T)].astype(float)
    if truth.std() == 0:
        return 0.0
    best, apart = _SAME_IMAGE, None
    for volume in volumes:
        for to_index, likeness in _arrangements(volume, frame.values.shape, pixels, truth):
            at = float(likeness.max())
            if at < best - 1e-6:
                continue
            near = min(
                _corners_apart(volume, frame, to_index, int(k))
                for k in np.flatnonzero(likeness >= max(at, best) - 1e-6)
            )
            apart = near if apart is None or at > best + 1e-6 else min(apart, near)
            best = max(best, at)
    return apart


def _arrangements(
    volume: Volume, shape: tuple[int, ...], pixels: np.ndarray, truth: np.ndarray
) -> Iterator[tuple[Any, np.ndarray]]:
    """Every way planes of the volume can be this image: turned, mirrored; likeness per plane."""
    sizes = volume.values.shape
    for row_axis, column_axis in itertools.permutations(range(3), 2):
        if (sizes[row_axis], sizes[column_axis]) != shape:
            continue
        through = 3 - row_axis - column_axis
        planes = volume.values.transpose(row_axis, column_axis, through)
        for flips in itertools.product((False, True), repeat=2):
            last = np.array(shape) - 1
            turned = np.where(flips, last - pixels, pixels)
            likeness = _correlation(planes[tuple(turned.T)].astype(float), truth)
            yield (row_axis, column_axis, through, flips), likeness


def _correlation(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Absolute correlation of each column of `found` (n, K) with `truth` (n,)."""
    one, two = found - found.mean(axis=0), truth - truth.mean()
    norms = np.linalg.norm(one, axis=0) * np.linalg.norm(two)
    return np.abs(two @ one) / np.where(norms > 0, norms, np.inf)


def _corners_apart(volume: Volume, frame: Frame, arrangement: Any, k: int) -> float:
    row_axis, column_axis, through, flips = arrangement
    corners = _corners(frame.values.shape)
    turned = np.where(flips, np.array(frame.values.shape) - 1 - corners, corners)
    index = np.empty((4, 3))
    index[:, row_axis], index[:, column_axis], index[:, through] = turned[:, 0], turned[:, 1], k
    found = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return float(np.linalg.norm(found - frame.world(corners), axis=1).max())
