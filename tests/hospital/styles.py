"""Series as several vendors and sites send them: geometry, transfer syntax, and how files lie."""

from __future__ import annotations

import copy
import gzip
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from dicom_phantom import CANARY, Series, rotation, save

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://medseg.invalid/hospital")
_AXIAL = (1.0, 0, 0, 0, 1, 0)
_SAGITTAL = (0, 1.0, 0, 0, 0, -1)
_CORONAL = (1.0, 0, 0, 0, 0, -1)
_OBLIQUE = tuple(rotation((0.95, 0.1, -0.2, 0.15))[:, :2].T.ravel())
_TILT = np.radians(15.0)
_ENCAPSULATED = (JPEG2000Lossless, JPEGLSLossless, RLELossless)

Layout = Callable[[list[Dataset], Path, int], list[Path]]


@dataclass(frozen=True)
class Style:
    """How one kind of scanner, and the site behind it, sends a series.

    Parameters
    ----------
    name : str
        For tables.
    layout : callable
        Writes the datasets of the series of a number below the root; the files.
    modality, syntax : str
        DICOM words.
    orientation : tuple of float
        ImageOrientationPatient.
    spacing_mm : tuple of float
        Between rows, between columns.
    step_mm : tuple of float or None
        From slice to slice, where it is not along the normal.
    shape : tuple of int
        Slices, rows, columns at size 1.
    tags : dict
        More header fields.
    """

    name: str
    layout: Layout
    modality: str = "CT"
    syntax: str = ExplicitVRLittleEndian
    orientation: tuple[float, ...] = _AXIAL
    spacing_mm: tuple[float, float] = (0.9, 0.8)
    step_mm: tuple[float, float, float] | None = None
    shape: tuple[int, int, int] = (10, 36, 32)
    tags: dict[str, Any] = field(default_factory=dict)

    def write(self, root: Path, number: int, size: float) -> list[Path]:
        """Write the series of a number; the files."""
        return self.layout(self.datasets(number, size), root, number)

    def datasets(self, number: int, size: float) -> list[Dataset]:
        """Slices in order; the same for the same number and size."""
        series = self.series(number, size)
        made = [series.slice(k) for k in range(len(series.stored))]
        for k, ds in enumerate(made):
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(number, "image", k)
            if self.modality == "MR":
                ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
        return made

    def series(self, number: int, size: float) -> Series:
        """Geometry and pixels of the series of a number."""
        shape = (self.shape[0], *(round(n * size) for n in self.shape[1:]))
        return Series(
            stored_values((round(shape[0] * size), *shape[1:]), number),
            orientation=np.array(self.orientation),
            pixel_spacing_mm=self.spacing_mm,
            step_mm=None if self.step_mm is None else np.array(self.step_mm),
            uid=uid(number, "series"),
            study=uid(number, "study"),
            frame_of_reference=uid(number, "frame"),
            tags=self._words(number),
        )

    def _words(self, number: int) -> dict[str, Any]:
        return {
            "BitsStored": 12,
            "HighBit": 11,
            "Modality": self.modality,
            "PatientID": f"CANARY{number:05d}",
            "PatientName": f"{CANARY}^{number:05d}",
            **self.tags,
        }


def uid(number: int, *what: object) -> str:
    """A UID that is the same on every run (PS3.5 B.2: 2.25 and a UUID)."""
    words = "/".join(str(part) for part in (number, *what))
    return f"2.25.{uuid.uuid5(_NAMESPACE, words).int}"


def stored_values(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Two bright bodies in noise, stored values of 12 bits, shape (K, J, I)."""
    random = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    values = random.normal(300.0, 40.0, shape)
    for brightness in (500.0, 900.0):
        centre, radius = random.uniform(-0.3, 0.3, 3), random.uniform(0.35, 0.7)
        away = sum((axis - c) ** 2 for axis, c in zip(places, centre, strict=True))
        values[away < radius**2] += brightness
    return np.clip(values, 0, 4095).astype(np.uint16)


def _per_patient(slices: list[Dataset], root: Path, number: int) -> list[Path]:
    """Patient, study and series folders, ``.dcm``."""
    folder = root / "patients" / f"P{number:05d}" / "ST0001" / "SE0003"
    return [_saved(ds, folder / f"IM{k:04d}.dcm") for k, ds in enumerate(slices)]


def _export(slices: list[Dataset], root: Path, number: int) -> list[Path]:
    """One folder for each export, names as a console gives them, ``.IMA``."""
    folder = root / f"EXPORT-{number:05d}"
    return [_saved(ds, folder / f"{7919 * k % 10007:05d}.IMA") for k, ds in enumerate(slices)]


def _dump(slices: list[Dataset], root: Path, number: int) -> list[Path]:
    """Ten patients in a folder, without extensions: names say nothing."""
    folder = root / "dump" / f"{number // 90:03d}"
    names = [uuid.uuid5(_NAMESPACE, f"{number} {k}").hex[:16] for k in range(len(slices))]
    return [_saved(ds, folder / name) for ds, name in zip(slices, names, strict=True)]


def _zipped(slices: list[Dataset], root: Path, number: int) -> list[Path]:
    """An archive as a viewer's CD export makes it."""
    (root / "zips").mkdir(parents=True, exist_ok=True)
    path = root / "zips" / f"CD{number:05d}.zip"
    loose = [_saved(ds, root / "zips" / f".{number}-{k}") for k, ds in enumerate(slices)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k, one in enumerate(loose):
            archive.writestr(zipfile.ZipInfo(f"DICOM/S1/I{k}"), one.read_bytes())
            one.unlink()
    return [path]


def _multiframe(slices: list[Dataset], root: Path, number: int) -> list[Path]:
    """One enhanced object with functional groups."""
    return [_saved(enhanced(slices), root / "enhanced" / f"{number:05d}" / "MF1.dcm")]


def _nifti(slices: list[Dataset], root: Path, number: int) -> list[Path]:
    """A research copy without a header's worth of facts."""
    path = root / "research" / f"sub-{number:05d}" / "anat.nii.gz"
    return [nifti(np.stack([ds.pixel_array for ds in slices]).T.astype(np.int16), path)]


def nifti(voxels: np.ndarray, path: Path) -> Path:
    """Write a volume, to the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-0.9, -0.8, 2.0, 1])
    content = nib.Nifti1Image(voxels, affine).to_bytes()
    path.write_bytes(gzip.compress(content, 1, mtime=0))
    return path


def enhanced(slices: list[Dataset]) -> Dataset:
    """The slices of an MR series as one enhanced multi-frame object (PS3.3 A.36)."""
    whole = copy.deepcopy(slices[0])
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    whole.NumberOfFrames = len(slices)
    whole.PixelData = b"".join(ds.PixelData for ds in slices)
    whole.SharedFunctionalGroupsSequence = [
        _groups(
            PlaneOrientationSequence=("ImageOrientationPatient",),
            PixelMeasuresSequence=("PixelSpacing", "SliceThickness"),
            PixelValueTransformationSequence=("RescaleSlope", "RescaleIntercept"),
            of=slices[0],
        )
    ]
    whole.PerFrameFunctionalGroupsSequence = [
        _groups(PlanePositionSequence=("ImagePositionPatient",), of=ds) for ds in slices
    ]
    for keyword in (
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(whole, keyword)
    return whole


def _groups(*, of: Dataset, **wanted: tuple[str, ...]) -> Dataset:
    groups = Dataset()
    for sequence, keywords in wanted.items():
        item = Dataset()
        for keyword in keywords:
            setattr(item, keyword, getattr(of, keyword))
        setattr(groups, sequence, [item])
    return groups


def _saved(ds: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(ds, path)


def _in_syntax(layout: Layout, syntax: str) -> Layout:
    """The layout, after the pixels of each file were brought into a transfer syntax."""

    def write(slices: list[Dataset], root: Path, number: int) -> list[Path]:
        for ds in slices:
            encode(ds, syntax)
        return layout(slices, root, number)

    return write


def encode(ds: Dataset, syntax: str) -> None:
    """Bring a dataset as it is made here into another transfer syntax."""
    if syntax in _ENCAPSULATED:
        ds.compress(syntax, generate_instance_uid=False)
        return
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"


PLAIN = Style("GE: axial CT, explicit VR, a folder for each patient", _per_patient)
MULTIFRAME = Style(
    "Philips: enhanced multi-frame MR",
    _multiframe,
    "MR",
    spacing_mm=(0.7, 0.95),
    shape=(12, 20, 22),
)
STYLES = (
    PLAIN,
    Style(
        "Siemens: oblique MR, implicit VR, .IMA",
        _in_syntax(_export, ImplicitVRLittleEndian),
        "MR",
        orientation=_OBLIQUE,
        spacing_mm=(1.1, 0.8),
    ),
    MULTIFRAME,
    Style(
        "Canon: CT, JPEG 2000, a flat dump without extensions",
        _in_syntax(_dump, JPEG2000Lossless),
        spacing_mm=(0.75, 0.9),
        shape=(9, 32, 38),
    ),
    Style(
        "Hitachi: sagittal MR, RLE",
        _in_syntax(_per_patient, RLELossless),
        "MR",
        orientation=_SAGITTAL,
        spacing_mm=(0.9, 1.2),
        shape=(8, 26, 18),
    ),
    Style(
        "Agfa: coronal MR, JPEG-LS, in a zip",
        _in_syntax(_zipped, JPEGLSLossless),
        "MR",
        orientation=_CORONAL,
        shape=(11, 20, 24),
    ),
    Style(
        "Toshiba: CT with a tilted gantry, flat dump",
        _dump,
        step_mm=(0.0, 2.5 * float(np.sin(_TILT)), 2.5 * float(np.cos(_TILT))),
    ),
    Style(
        "an old archive: CT, explicit big endian",
        _in_syntax(_per_patient, ExplicitVRBigEndian),
        shape=(9, 20, 20),
    ),
    Style(
        "an old archive: MR, deflated",
        _in_syntax(_export, DeflatedExplicitVRLittleEndian),
        "MR",
        spacing_mm=(1.3, 0.6),
    ),
    Style("a research copy: NIfTI", _nifti, "MR", shape=(12, 24, 22)),
)
