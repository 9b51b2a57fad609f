"""DICOM series made from scratch: anisotropic, oblique when asked, with faults when asked.

Row spacing, column spacing and slice spacing all differ, and so do the counts, so that any swap
of axes shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

CANARY = "CANARY^NAME"
"""Stands in every patient field; must never come out anywhere but in DICOM."""


@dataclass(frozen=True)
class Series:
    """What to write: geometry in LPS+ mm as DICOM says it, and stored pixels.

    Parameters
    ----------
    stored : ndarray of int, shape (K, J, I)
        Stored values, before rescale.
    orientation : array, shape (6,)
        ImageOrientationPatient.
    pixel_spacing_mm : tuple
        Between rows, between columns.
    first_mm, step_mm : array, shape (3,)
        Position of slice 0, and from one slice to the next.
    slopes, intercept
        Per slice, and common.
    tags : dict
        More header fields, by keyword, for every slice.
    """

    stored: np.ndarray
    orientation: np.ndarray = field(default_factory=lambda: np.array([1.0, 0, 0, 0, 1, 0]))
    pixel_spacing_mm: tuple[float, float] = (0.7, 0.4)
    first_mm: np.ndarray = field(default_factory=lambda: np.array([-10.5, 20.25, -30.0]))
    step_mm: np.ndarray | None = None
    slopes: tuple[float, ...] = (1.0,)
    intercept: float = -1024.0
    uid: str = field(default_factory=generate_uid)
    frame_of_reference: str = field(default_factory=generate_uid)
    study: str = field(default_factory=generate_uid)
    tags: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> np.ndarray:
        """From slice to slice; along the normal, 2.5 mm, when not given."""
        if self.step_mm is not None:
            return np.asarray(self.step_mm, float)
        return 2.5 * np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, k: int) -> np.ndarray:
        """ImagePositionPatient of slice k."""
        return self.first_mm + k * self.step

    def values(self) -> np.ndarray:
        """Rescaled values, shape (I, J, K)."""
        slopes = np.resize(self.slopes, len(self.stored))[:, None, None]
        return (self.stored * slopes + self.intercept).transpose(2, 1, 0)

    def world(self, i: float, j: float, k: float) -> np.ndarray:
        """RAS+ mm of a voxel by the formula of PS3.3 C.7.6.2.1.1, written independently."""
        row, column = self.orientation[:3], self.orientation[3:]
        between_rows, between_columns = self.pixel_spacing_mm
        lps = self.position(0) + k * self.step + row * between_columns * i
        lps = lps + column * between_rows * j
        return lps * [-1, -1, 1]

    def slice(self, k: int) -> Dataset:
        """Slice k as a dataset, ready to be altered and saved."""
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self.study, self.uid
        ds.FrameOfReferenceUID, ds.Modality = self.frame_of_reference, "CT"
        ds.PatientName = ds.PatientID = ds.SeriesDescription = CANARY
        ds.PatientBirthDate = ds.PatientSex = ds.StudyDate = ds.StudyTime = ""
        ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ds.Manufacturer = ""
        ds.InstanceNumber, ds.SeriesNumber, ds.AcquisitionNumber = k + 1, 3, 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImageOrientationPatient = [format_number_as_ds(x) for x in self.orientation]
        ds.ImagePositionPatient = [format_number_as_ds(x) for x in self.position(k)]
        ds.PixelSpacing = [format_number_as_ds(x) for x in self.pixel_spacing_mm]
        ds.SliceThickness = 9.0  # wrong on purpose: it is never geometry
        ds.Rows, ds.Columns = self.stored.shape[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, int(self.stored.dtype == np.int16)
        ds.RescaleSlope = str(self.slopes[k % len(self.slopes)])
        ds.RescaleIntercept = str(self.intercept)
        ds.PixelData = np.ascontiguousarray(self.stored[k]).tobytes()
        for keyword, value in self.tags.items():
            setattr(ds, keyword, value)
        return ds

    def write(self, folder: Path, *, skip: tuple[int, ...] = (), prefix: str = "") -> list[Path]:
        """Write all slices but `skip`, under names that say nothing about their order."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for k in range(len(self.stored)):
            path = folder / f"{prefix}{(k * 7919 + 13) % 10007:05d}"
            if k not in skip:
                save(self.slice(k), path)
            paths.append(path)
        return paths


def save(ds: Dataset, path: Path) -> Path:
    """Write with preamble, as scanners do."""
    ds.save_as(path, enforce_file_format=True)
    return path


def random_stored(shape: tuple[int, int, int] = (6, 9, 7), seed: int = 0) -> np.ndarray:
    """Random stored pixels, shape (K, J, I), uint16 in 12 bits."""
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.uint16)


def rotation(quaternion: tuple[float, float, float, float]) -> np.ndarray:
    """Rotation matrix of a quaternion (any length but 0)."""
    a, b, c, d = np.asarray(quaternion, float) / np.linalg.norm(quaternion)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )
