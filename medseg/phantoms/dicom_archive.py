"""True DICOM series of phantoms: what a hospital's archive would send, made on the spot."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from medseg.errors import InputError, WriteError
from medseg.phantoms.abdomen import abdominal_ct
from medseg.phantoms.shapes import rotation
from medseg.runtime.progress import Progress, silent
from medseg.volume.conventions import dicom_from_affine, flip_lps_ras, from_kji
from medseg.volume.grid import Grid
from medseg.volume.label_map import LabelMap
from medseg.volume.scan import Scan

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://medseg.invalid/phantoms")
_INTERCEPT = -1024


@dataclass(frozen=True)
class SeriesRecipe:
    """One series to be made.

    Parameters
    ----------
    description : str
    grid : Grid
        Where its voxels lie.
    noise_hu : float, default 14
        Standard deviation of its noise.
    """

    description: str
    grid: Grid
    noise_hu: float = 14.0


@dataclass(frozen=True)
class PatientRecipe:
    """One patient of the archive, with one study.

    Parameters
    ----------
    number : int
        From 1; it seeds the anatomy and names patient and folder.
    series : tuple of SeriesRecipe
        In the order of their SeriesNumber.
    scout : bool, default False
        Whether a localizer series lies in the same folder.
    """

    number: int
    series: tuple[SeriesRecipe, ...]
    scout: bool = False

    @property
    def name(self) -> str:
        """Name of the patient's folder, such as ``"phantom-01"``."""
        return f"phantom-{self.number:02d}"


@dataclass(frozen=True)
class ArchivedSeries:
    """A series that was written."""

    patient: str
    folder: Path
    series_uid: str
    truth: LabelMap


@dataclass(frozen=True)
class _Header:
    """What a series says about itself besides its voxels."""

    patient: int
    number: int
    description: str
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")

    def uid(self, *parts: object) -> str:
        """The UID of `parts` in this study, the same on every run (PS3.5 B.2: 2.25 + UUID)."""
        text = "/".join(str(part) for part in (self.patient, *parts))
        return f"2.25.{uuid.uuid5(_NAMESPACE, text).int}"

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""
        return self.uid("series", self.number)


def ct_grid(
    *,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    turn_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Grid:
    """A CT grid whose axes grow to (about) left, posterior, superior.

    Parameters
    ----------
    shape : tuple of int
    spacing_mm : tuple of float
    turn_degrees : tuple of float, optional
        Turns about the x, y, z axes; oblique when not 0.
    centre_mm : tuple of float, optional
        RAS+ position of the grid's middle.
    """
    lps = np.eye(4)
    lps[:3, :3] = rotation(turn_degrees) * np.asarray(spacing_mm)
    middle = flip_lps_ras(np.block([[np.eye(3), np.reshape(centre_mm, (3, 1))], [0, 0, 0, 1]]))
    lps[:3, 3] = middle[:3, 3] - lps[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, flip_lps_ras(lps))


def demo_patients(count: int = 9) -> tuple[PatientRecipe, ...]:
    """Patients on varied grids: axial, oblique, anisotropic; the last has two series and a scout.

    Parameters
    ----------
    count : int, default 9
        At least 1.

    Raises
    ------
    InputError
        When `count` is not positive.
    """
    if count < 1:
        raise InputError(f"an archive needs at least 1 patient, got {count}")
    single = [
        PatientRecipe(number, (SeriesRecipe("Abdomen portal venous 5mm", _varied_grid(number)),))
        for number in range(1, count)
    ]
    soft = ct_grid(shape=(120, 112, 46), spacing_mm=(3.0, 3.0, 5.0))
    sharp = ct_grid(shape=(112, 104, 60), spacing_mm=(3.2, 3.2, 3.75), turn_degrees=(0, 0, 4.0))
    double = PatientRecipe(
        count,
        (
            SeriesRecipe("Abdomen 5mm soft", soft),
            SeriesRecipe("Abdomen 3.75mm sharp", sharp, noise_hu=22.0),
        ),
        scout=True,
    )
    return (*single, double)


def write_archive(
    folder: Path, patients: Sequence[PatientRecipe], *, progress: Progress = silent
) -> list[ArchivedSeries]:
    """Write every patient's series as DICOM files, one folder per patient.

    Parameters
    ----------
    folder : Path
        Made when missing.
    patients : sequence of PatientRecipe
    progress : Progress, optional

    Returns
    -------
    list of ArchivedSeries
        Without the scouts; in the order of patients and their series.

    Raises
    ------
    WriteError
        When a file cannot be written.
    """
    written: list[ArchivedSeries] = []
    total = sum(len(patient.series) for patient in patients)
    for patient in patients:
        for series in _write_patient(folder / patient.name, patient):
            written.append(series)
            progress(len(written), total, f"writing {patient.name}")
    return written


def write_series(
    scan: Scan, folder: Path, *, patient: int, number: int = 1, description: str = "Abdomen"
) -> str:
    """Write a CT scan as one DICOM series; file names say nothing about the order of slices.

    Parameters
    ----------
    scan : Scan
        CT numbers in HU, shape (1, I, J, K), from -1024 to 3071; the grid must not be sheared
        within a slice.
    folder : Path
        Made when missing; files of other series may lie there.
    patient : int
        Number of the made-up patient.
    number : int, default 1
    description : str, optional

    Returns
    -------
    str
        SeriesInstanceUID; the same for the same patient and number.

    Raises
    ------
    WriteError
        When a file cannot be written.
    """
    return _write(scan, folder, _Header(patient, number, description))


def _write_patient(folder: Path, patient: PatientRecipe) -> Iterator[ArchivedSeries]:
    for number, recipe in enumerate(patient.series, start=1):
        scan, truth = abdominal_ct(patient.number, recipe.grid, noise_hu=recipe.noise_hu)
        header = _Header(patient.number, number, recipe.description)
        _write(scan, folder, header)
        if patient.scout and number == 1:
            localizer = _Header(patient.number, 99, "Scout", ("ORIGINAL", "PRIMARY", "LOCALIZER"))
            _write(_scout(scan), folder, localizer)
        yield ArchivedSeries(patient.name, folder, header.series_uid, truth)


def _varied_grid(number: int) -> Grid:
    """The `number`-th of a cycle of grids, each unlike its neighbours."""
    forms = (
        ((128, 88, 46), (2.8, 2.8, 5.0), (0.0, 0.0, 0.0)),
        ((112, 96, 52), (3.2, 3.2, 4.5), (0.0, 0.0, 12.0)),
        ((136, 96, 46), (2.6, 2.6, 5.0), (0.0, 5.0, 0.0)),
        ((120, 104, 60), (3.0, 3.0, 4.0), (-10.0, 0.0, 3.0)),
        ((144, 104, 44), (2.5, 2.4, 5.0), (0.0, 0.0, 0.0)),
        ((112, 104, 58), (3.2, 3.0, 4.0), (6.0, -6.0, -8.0)),
    )
    shape, spacing, turn = forms[(number - 1) % len(forms)]
    shift = (3.0 * (number % 4) - 4.0, 2.0 * (number % 3), 2.5 * (number % 5) - 5.0)
    return ct_grid(shape=shape, spacing_mm=spacing, turn_degrees=turn, centre_mm=shift)


def _scout(scan: Scan) -> Scan:
    """A one-slice localizer: the mean along J, rows running downwards, on a coronal plane."""
    columns, rows, slices = scan.grid.shape
    down = np.array(
        [[1.0, 0, 0, 0], [0, 0, 1, (rows - 1) / 2], [0, -1, 0, slices - 1], [0, 0, 0, 1]]
    )
    grid = Grid((columns, slices, 1), scan.grid.affine @ down)
    view = scan.voxels[0].mean(axis=1)[:, ::-1, None]
    return replace(scan, voxels=np.rint(view).astype(np.int16)[None], grid=grid)


def _write(scan: Scan, folder: Path, header: _Header) -> str:
    slices = scan.grid.shape[2]
    digest = hashlib.sha256(header.series_uid.encode()).digest()
    order = np.random.default_rng(list(digest[:8])).permutation(slices)
    stored = from_kji(np.clip(scan.voxels[0], _INTERCEPT, 3071).astype(np.int32) - _INTERCEPT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(slices):
            dataset = _slice(scan.grid, k, np.ascontiguousarray(stored[k], np.uint16), header)
            name = f"S{header.number:02d}I{int(order[k]) + 1:04d}.dcm"
            dataset.save_as(folder / name, enforce_file_format=True)
    except OSError as error:
        raise WriteError(
            f"cannot write the DICOM series into '{folder}': {error.strerror or error};"
            " free some space or choose another folder"
        ) from error
    return header.series_uid


def _slice(grid: Grid, k: int, stored: npt.NDArray[np.uint16], header: _Header) -> FileDataset:
    """The `k`-th slice as a DICOM object; `stored` has shape (J, I)."""
    dataset = _empty_slice(header, k)
    _set_patient_and_study(dataset, header)
    _set_geometry(dataset, grid, k, header)
    _set_pixels(dataset, stored)
    return dataset


def _empty_slice(header: _Header, k: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(header.uid("instance", header.number, k))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.InstanceNumber = k + 1
    return dataset


def _set_patient_and_study(dataset: Dataset, header: _Header) -> None:
    fields: dict[str, Any] = {
        "PatientName": f"Phantom^{header.patient:02d}",
        "PatientID": f"PHANTOM{header.patient:02d}",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyInstanceUID": header.uid("study"),
        "StudyDate": "20240102",
        "StudyTime": "080000",
        "StudyID": f"{header.patient}",
        "StudyDescription": "Synthetic abdomen",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "SeriesInstanceUID": header.series_uid,
        "SeriesNumber": header.number,
        "SeriesDescription": header.description,
        "Modality": "CT",
        "Manufacturer": "medseg phantom",
        "ImageType": list(header.image_type),
        "BodyPartExamined": "ABDOMEN",
        "PatientPosition": "HFS",
        "KVP": "120",
        "AcquisitionNumber": 1,
    }
    for keyword, value in fields.items():
        setattr(dataset, keyword, value)


def _set_geometry(dataset: Dataset, grid: Grid, k: int, header: _Header) -> None:
    orientation, pixel_spacing, first, step = dicom_from_affine(grid.affine)
    dataset.FrameOfReferenceUID = header.uid("frame")
    dataset.PositionReferenceIndicator = ""
    dataset.ImageOrientationPatient = _decimals(orientation)
    dataset.ImagePositionPatient = _decimals(first + k * step)
    dataset.PixelSpacing = _decimals(pixel_spacing)
    dataset.SliceThickness = _decimals(grid.spacing_mm[2:])[0]


def _set_pixels(dataset: Dataset, stored: npt.NDArray[np.uint16]) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope = f"{_INTERCEPT}", "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "60", "400"
    dataset.PixelData = stored.astype("<u2").tobytes()


def _decimals(numbers: Sequence[float] | npt.NDArray[np.float64]) -> list[DSfloat]:
    """DICOM decimal strings of at most 16 characters."""
    return [DSfloat(float(number), auto_format=True) for number in numbers]
