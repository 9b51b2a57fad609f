"""Rows about DICOM scans: each looks at what a script wrote and says what it saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from medseg import read_scan
from medseg.discovery.inspection import inspect
from medseg.errors import InputError
from medseg.reading.dicom.series import list_stacks, read_stack

ROWS: dict[str, tuple[str, Callable[[Path], str]]] = {}
"""What is right, and what looks, by the script (and the part of it) that writes the files."""


def row(script: str, right: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Enter a function as a row."""

    def enter(look: Callable[[Path], str]) -> Callable[[Path], str]:
        ROWS[script] = right, look
        return look

    return enter


def stored(shape: tuple[int, int, int] = (6, 9, 7), seed: int = 0) -> np.ndarray:
    """What the scripts store, as (I, J, K)."""
    values = np.random.default_rng(seed).integers(0, 4096, shape)
    return values.transpose(2, 1, 0)


def exact(folder: Path, values: np.ndarray, spacing: tuple[float, ...] = (0.4, 0.7, 2.5)) -> str:
    """Read a folder that must hold one scan of these values; gives its notes."""
    scan = read_scan(folder)
    assert np.array_equal(scan.voxels[0], values), "other values"
    assert np.allclose(scan.grid.spacing_mm, spacing), f"spacing {scan.grid.spacing_mm}"
    assert inspect(folder)[0].verdict.outcome == "ok", "inspect does not agree"
    return "exact; " + "; ".join(scan.provenance.notes)


def refused(folder: Path, *words: str) -> str:
    """A refusal that has these words, the same of `inspect`."""
    refusal = ""
    try:
        read_scan(folder)
    except InputError as error:
        refusal = str(error)
    assert refusal, "read without a word"
    assert all(word in refusal for word in words), refusal
    assert inspect(folder)[0].verdict.outcome == "refused", "inspect does not agree"
    return refusal


def told_apart(folder: Path, volumes: int, word: str = "") -> str:
    """A folder of several volumes that the list tells apart by a field."""
    stacks = list_stacks(folder)
    assert len(stacks) == volumes, f"{len(stacks)} stacks"
    for stack in stacks:
        assert word in stack.split_by, stack.split_by
        read_stack(stack)
    return ", ".join(stack.split_by for stack in stacks)


@row("io/transfer_syntax_says_implicit_data_are_explicit", "exact, or told")
def bytes_decide(folder: Path) -> str:
    for name, size in (("small", 64), ("large", 256)):
        seen = exact(folder / name, stored((6, size, size)))
    return seen


@row("io/frame_of_reference_missing_in_half", "one volume, or one refusal")
def interleaved(folder: Path) -> str:
    return exact(folder / "series", stored((24, 35, 40)))


@row("io/enhanced_file_for_each_slice", "one volume; three for `times`")
def enhanced_files(folder: Path) -> str:
    seen = exact(folder / "one", stored())
    return f"{seen}; {told_apart(folder / 'times', 3, 'InversionTime')}"


@row("io/enhanced_single_slice_depth", "2.5 mm")
def depth(folder: Path) -> str:
    return exact(folder / "series", stored((1, 9, 7)))


@row("io/volumes_told_apart_by_other_fields", "a choice with the field's values")
def fields(folder: Path) -> str:
    names = {
        "cardiac_phase": "NominalPercentageOfCardiacPhase",
        "flip_angle": "FlipAngle",
        "tube_voltage": "KVP",
        "component": "ComplexImageComponent",
        "date_time": "AcquisitionDateTime",
        "thickness": "SliceThickness",
    }
    return "; ".join(told_apart(folder / name, 2, field) for name, field in names.items())


@row("io/decimal_comma", "read, or shown")
def commas(folder: Path) -> str:
    return exact(folder / "series", stored())


@row("io/pixel_spacing_with_another_vr", "read, or shown")
def odd_type(folder: Path) -> str:
    return exact(folder / "series", stored())


@row("io/float_pixel_data", "exact")
def floats(folder: Path) -> str:
    values = np.random.default_rng(3).normal(size=(6, 9, 7)).astype(np.float32)
    return exact(folder / "series", values.transpose(2, 1, 0))


@row("io/pixel_representation_missing", "defaults, or the field named")
def pixel_fields(folder: Path) -> str:
    return "; ".join(exact(folder / name, stored()) for name in ("sign", "bits"))


@row("io/uid_longer_than_64", "read")
def long_uid(folder: Path) -> str:
    return exact(folder / "series", stored())


@row("io/empty_file_without_ending", "read, with a note; commands agree")
def empty_file(folder: Path) -> str:
    seen = exact(folder, stored((24, 35, 40)))
    assert "LOCKFILE" in seen, "not told"
    return seen


@row("io/rescale_missing_in_one_slice", "told or refused")
def rescale(folder: Path) -> str:
    return refused(folder / "series", "RescaleIntercept", "003.dcm")


@row("io/two_patients_in_one_series", "told; DICOM results refused")
def patients(folder: Path) -> str:
    seen = exact(folder / "series", stored())
    assert "PatientID" in seen, "not told"
    assert not read_scan(folder / "series").provenance.instance_uids, "a SEG could be written"
    return seen


@row("io/spect_reconstruction", "read, or told truly")
def spect(folder: Path) -> str:
    return exact(folder / "series", stored())


@row("io/nhdr_in_a_folder", "listed")
def detached(folder: Path) -> str:
    (report,) = inspect(folder)
    assert report.verdict.outcome == "ok", report.verdict.why
    return f"{report.name}: {report.shape}"


@row("geometry/time_series_without_time", "4 volumes by InstanceNumber")
def numbers(folder: Path) -> str:
    return told_apart(folder, 4, "InstanceNumber")


@row("geometry/enhanced_told_apart_by_its_dimensions", "4 volumes of 5 frames")
def dimensions(folder: Path) -> str:
    return told_apart(folder, 4, "Dimension")


@row("geometry/positions_to_a_tenth", "read")
def rounded(folder: Path) -> str:
    return f"read, {read_scan(folder).grid.shape}"


@row("geometry/rows_reversed_without_a_word", "turned or refused")
def polarity(folder: Path) -> str:
    return refused(folder, "epi_pepolar")


@row("geometry/copies_in_another_encoding", "60 slices, 60 copies left out")
def copies(folder: Path) -> str:
    (report,) = inspect(folder)
    assert (report.slices, report.duplicates) == (60, 60), report
    return report.verdict.why


@row("geometry/scintigram", "a 2-D picture of 2.2 mm, told")
def scintigram(folder: Path) -> str:
    scan = read_scan(folder)
    assert np.allclose(scan.grid.spacing_mm[:2], 2.2), scan.grid.spacing_mm
    return "; ".join(scan.provenance.notes)
