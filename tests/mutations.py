"""A CT series with one thing wrong, twenty-eight times, and what medseg must make of each.

The series is oblique and its three spacings differ. What the pixels of a mutated folder are
worth and where they lie is for :mod:`dicom_oracle` to say, from the files alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, generate_uid

from dicom_phantom import Series, random_stored, rotation, save

_TURN = rotation((0.9, 0.2, -0.3, 0.1))
_SLICES = 12
_MIDDLE = 5


@dataclass(frozen=True)
class Mutation:
    """What is done to the series, and what medseg makes of it.

    Parameters
    ----------
    name : str
        What is wrong.
    write : callable
        Writes the files into a folder.
    code : str
        Of the error that reading the folder must raise; empty when it is read.
    stacks : tuple of str
        For each stack that is listed: empty when it is read, else the code of its refusal.
    note : str
        Words that the provenance must hold.
    """

    name: str
    write: Callable[[Path], None]
    code: str = ""
    stacks: tuple[str, ...] = ("",)
    note: str = ""


MUTATIONS: list[Mutation] = []


def _expect(
    name: str, *, code: str = "", stacks: tuple[str, ...] | None = None, note: str = ""
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def add(write: Callable[[Path], None]) -> Callable[[Path], None]:
        MUTATIONS.append(Mutation(name, write, code, stacks or (code,), note))
        return write

    return add


def series(seed: int = 0, **changes: object) -> Series:
    """The series before anything is done to it."""
    base = Series(random_stored((_SLICES, 20, 28), seed), orientation=_TURN[:, :2].T.ravel())
    return replace(base, **changes)


def _write(slices: list[Dataset], folder: Path, *, names: str = "{:03d}.dcm") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [save(ds, folder / names.format(n)) for n, ds in enumerate(slices)]


def _slices(**changes: object) -> list[Dataset]:
    one = series(**changes)
    return [one.slice(k) for k in range(len(one.stored))]


def _each(change: Callable[[Dataset, int], None], **changes: object) -> list[Dataset]:
    """All slices after `change`."""
    slices = _slices(**changes)
    for k, ds in enumerate(slices):
        change(ds, k)
    return slices


def write_plain(folder: Path) -> None:
    """Nothing is wrong."""
    _write(_slices(), folder)


def write_tilted(folder: Path) -> None:
    """Slices sheared by 18.5 degrees, as a tilted gantry makes them."""
    angle = np.radians(18.5)
    _write(_slices(step_mm=4 * _TURN @ [0, np.sin(angle), np.cos(angle)]), folder)


@_expect("one slice missing", code="MISSING_SLICE")
def _missing(folder: Path) -> None:
    slices = _slices()
    del slices[_MIDDLE]
    _write(slices, folder)


@_expect("same position, other pixels", code="AMBIGUOUS_4D")
def _same_position(folder: Path) -> None:
    extra = series(seed=1).slice(_MIDDLE)
    first = series()
    extra.SeriesInstanceUID, extra.StudyInstanceUID = first.uid, first.study
    extra.FrameOfReferenceUID = first.frame_of_reference
    _write([*(first.slice(k) for k in range(_SLICES)), extra], folder)


@_expect("identical duplicate file", note="1 copies")
def _duplicate(folder: Path) -> None:
    slices = _slices()
    _write([*slices, slices[_MIDDLE]], folder)


def _with_scout(folder: Path, shape: tuple[int, int]) -> None:
    ct = series()
    scout = replace(
        ct, stored=random_stored((1, *shape), 3), orientation=np.array([1.0, 0, 0, 0, 0, -1])
    )
    slices = [ct.slice(k) for k in range(_SLICES)]
    _write([scout.slice(0), *slices], folder)


@_expect("scout of another size", code="NEEDS_SELECTION", stacks=("", ""))
def _scout_other_size(folder: Path) -> None:
    _with_scout(folder, (33, 17))


@_expect("scout of the same size", code="NEEDS_SELECTION", stacks=("", ""))
def _scout_same_size(folder: Path) -> None:
    _with_scout(folder, (20, 28))


@_expect("RescaleSlope differs per slice")
def _slope_per_slice(folder: Path) -> None:
    _write(_slices(slopes=tuple(0.5 + 0.125 * k for k in range(_SLICES)), intercept=0.0), folder)


@_expect("first slope 1, the rest 0.01")
def _first_slope_one(folder: Path) -> None:
    _write(_slices(slopes=(1.0, *[0.01] * (_SLICES - 1)), intercept=0.0), folder)


@_expect("InstanceNumber and file names shuffled")
def _shuffled(folder: Path) -> None:
    order = np.random.default_rng(4).permutation(_SLICES)

    def renumber(ds: Dataset, k: int) -> None:
        ds.InstanceNumber = int(order[k]) + 1

    slices = _each(renumber)
    _write([slices[k] for k in np.argsort(order)], folder)


def _spacing_tag(folder: Path, between: float, thickness: float) -> None:
    def state(ds: Dataset, k: int) -> None:
        ds.SpacingBetweenSlices, ds.SliceThickness = between, thickness

    _write(_each(state), folder)


@_expect("negative SpacingBetweenSlices")
def _negative_spacing(folder: Path) -> None:
    _spacing_tag(folder, -2.5, 2.5)


@_expect("wrong SpacingBetweenSlices and SliceThickness")
def _wrong_spacing(folder: Path) -> None:
    _spacing_tag(folder, 1.0, 7.0)


@_expect("two phases in one series", code="NEEDS_SELECTION", stacks=("", ""))
def _two_phases(folder: Path) -> None:
    one = series()
    two = replace(one, stored=random_stored(one.stored.shape, 5))
    slices = []
    for number, phase in enumerate((one, two), start=1):
        for k in range(_SLICES):
            ds = phase.slice(k)
            ds.AcquisitionNumber, ds.InstanceNumber = number, len(slices) + 1
            slices.append(ds)
    _write(slices, folder)


@_expect("MONOCHROME1", note="MONOCHROME1")
def _monochrome1(folder: Path) -> None:
    _write(_slices(tags={"PhotometricInterpretation": "MONOCHROME1"}), folder)


@_expect("signed pixels with PixelPaddingValue", note="padding")
def _padding(folder: Path) -> None:
    stored = series().stored.astype(np.int16) - 1024
    stored[:, :3, :4] = -2000
    _write(
        _each(lambda ds, _k: ds.add_new("PixelPaddingValue", "SS", -2000), stored=stored), folder
    )


@_expect("truncated pixels in one file", code="TRUNCATED")
def _truncated(folder: Path) -> None:
    path = _write(_slices(), folder)[_MIDDLE]
    path.write_bytes(path.read_bytes()[:-560])  # half of 20 x 28 x 2 bytes


@_expect("one slice without position", code="INCOMPLETE_GEOMETRY")
def _one_unplaced(folder: Path) -> None:
    slices = _slices()
    del slices[_MIDDLE].ImagePositionPatient
    _write(slices, folder)


@_expect("very anisotropic pixels")
def _anisotropic(folder: Path) -> None:
    _write(_slices(pixel_spacing_mm=(2.9, 0.6)), folder)


@_expect("orientation jitters by 1e-5")
def _orientation_jitter(folder: Path) -> None:
    jitter = np.random.default_rng(6).uniform(-1e-5, 1e-5, (_SLICES, 6))

    def shake(ds: Dataset, k: int) -> None:
        turned = np.array(ds.ImageOrientationPatient, float) + jitter[k]
        ds.ImageOrientationPatient = [f"{x:.10f}" for x in turned]

    _write(_each(shake), folder)


@_expect("positions jitter by 4 micrometres")
def _position_jitter(folder: Path) -> None:
    jitter = np.random.default_rng(7).uniform(-0.004, 0.004, (_SLICES, 3))

    def shake(ds: Dataset, k: int) -> None:
        moved = np.array(ds.ImagePositionPatient, float) + jitter[k]
        ds.ImagePositionPatient = [f"{x:.8f}" for x in moved]

    _write(_each(shake), folder)


@_expect("two series in one folder", code="NEEDS_SELECTION", stacks=("", ""))
def _two_series(folder: Path) -> None:
    _write(_slices(), folder)
    other = series(seed=8, uid=generate_uid(), first_mm=np.array([5.0, 6.0, 7.0]))
    _write([other.slice(k) for k in range(_SLICES)], folder, names="b{:03d}.dcm")


@_expect("Modality LUT Sequence")
def _modality_lut(folder: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.ModalityLUTType = "HU"
    table.LUTData = [(n * n) % 3001 for n in range(4096)]
    table["LUTData"].VR = "US"

    def give_table(ds: Dataset, _k: int) -> None:
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.ModalityLUTSequence = [table]

    _write(_each(give_table), folder)


@_expect("nested folders, no file extension")
def _nested(folder: Path) -> None:
    for k, ds in enumerate(_slices()):
        inner = folder / f"a{k % 2}" / f"b{k % 3}"
        inner.mkdir(parents=True, exist_ok=True)
        save(ds, inner / f"IM{k}")


def _in_syntax(folder: Path, syntax: str) -> None:
    def set_syntax(ds: Dataset, _k: int) -> None:
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            ds["PixelData"].VR = "OW"

    _write(_each(set_syntax), folder)


@_expect("deflated transfer syntax")
def _deflated(folder: Path) -> None:
    _in_syntax(folder, DeflatedExplicitVRLittleEndian)


@_expect("explicit big endian")
def _big_endian(folder: Path) -> None:
    _in_syntax(folder, ExplicitVRBigEndian)


@_expect("no preamble, no file meta")
def _no_preamble(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, ds in enumerate(_slices()):
        del ds.file_meta
        ds.save_as(folder / f"{k}.dcm", implicit_vr=True, little_endian=True)


@_expect("overlay in the high bits")
def _overlay_bits(folder: Path) -> None:
    stored = series().stored
    stored[:, 4:9, 6:20] |= 0xA000

    def twelve_bits(ds: Dataset, _k: int) -> None:
        ds.BitsStored, ds.HighBit = 12, 11

    _write(_each(twelve_bits, stored=stored), folder)


@_expect("one slice with another PixelSpacing", code="INTERLEAVED")
def _one_other_spacing(folder: Path) -> None:
    slices = _slices()
    slices[_MIDDLE].PixelSpacing = [1.4, 0.8]
    _write(slices, folder)


@_expect("no geometry at all", code="NO_GEOMETRY")
def _no_geometry(folder: Path) -> None:
    def strip(ds: Dataset, _k: int) -> None:
        del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.FrameOfReferenceUID

    _write(_each(strip), folder)


@_expect("Japanese patient name, two character sets")
def _charset(folder: Path) -> None:
    tags = {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎",
    }
    _write(_slices(tags=tags), folder)
