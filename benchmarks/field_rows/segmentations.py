"""Rows about segmentations, files of other formats, pairs to evaluate and values passed through."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg import read_labels, read_scan
from medseg.errors import InputError

ROWS: dict[str, tuple[str, Callable[[Path], str]]] = {}
"""What is right, and what looks, by the script (and the part of it) that writes the files."""

_SPACING = (0.4, 0.7, 2.5)
_MOST_CPU_SECONDS = 5.0


def row(script: str, right: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Enter a function as a row."""

    def enter(look: Callable[[Path], str]) -> Callable[[Path], str]:
        ROWS[script] = right, look
        return look

    return enter


def medseg(*words: object, code: int = 0) -> str:
    """What a command says in its two streams, and no library beside it."""
    command = [sys.executable, "-m", "medseg_pipelines", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert not code or len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stdout + done.stderr


def refused(read: Callable[[], object], *words: str) -> str:
    """A refusal that has these words."""
    refusal = ""
    try:
        read()
    except InputError as error:
        refusal = str(error)
    assert refusal, "read without a word"
    assert all(word in refusal for word in words), refusal
    return refusal


def noted(path: Path, *words: str, spacing: tuple[float, ...] = _SPACING) -> str:
    """Read a scan of this spacing, whose notes have these words."""
    scan = read_scan(path)
    assert np.allclose(scan.grid.spacing_mm, spacing), f"spacing {scan.grid.spacing_mm}"
    notes = "; ".join(scan.provenance.notes)
    assert all(word in notes for word in words), f"notes: {notes}"
    return notes or "as it is"


@row("io/nifti_vox_offset_below_352", "byte 352, or refused")
def voxels_after_the_header(folder: Path) -> str:
    image = read_scan(folder / "a.nii").voxels[0]
    raw = np.frombuffer((folder / "a.nii").read_bytes()[352:], np.int16)
    assert np.array_equal(image.ravel(order="F"), raw[: image.size]), "other voxels"
    return "exact"


@row("io/nifti_lengths_in_micrometres", "0.4 x 0.7 x 2.5 mm")
def micrometres(folder: Path) -> str:
    return noted(folder / "a.nii.gz", "converted to mm")


@row("io/nifti_codes_of_a_template", "4 kept")
def template(folder: Path) -> str:
    medseg("convert", folder / "a.nii.gz", folder / "b.nii.gz")
    codes = nib.load(folder / "b.nii.gz").header
    assert int(codes["sform_code"]) == 4, codes["sform_code"]
    return f"sform_code {codes['sform_code']}, qform_code {codes['qform_code']}"


@row("io/gzip_in_gzip", "one sentence")
def gzipped_twice(folder: Path) -> str:
    return medseg("convert", folder / "a.nii.gz", folder / "b.nii.gz", code=2)


@row("io/nrrd_directions_not_numbers", "refused")
def no_numbers(folder: Path) -> str:
    return refused(lambda: read_scan(folder / "a.nrrd"), "space directions")


@row("io/nrrd_without_orientation", "notes, as for NIfTI and GIPL")
def no_orientation(folder: Path) -> str:
    noted(folder / "spacings.nrrd", "left and right")
    noted(folder / "scanner.nrrd", "left and right")
    noted(folder / "nothing.mha", "1 mm is assumed", "left and right", spacing=(1, 1, 1))
    return noted(folder / "nothing.nrrd", "1 mm is assumed", "left and right", spacing=(1, 1, 1))


@row("io/detached_header_without_its_data", "the missing file named")
def header_alone(folder: Path) -> str:
    return refused(lambda: read_scan(folder / "a.nhdr"), "b.raw.gz", "not there")


@row("io/seg_of_two_time_points", "refused or chosen")
def two_times(folder: Path) -> str:
    return refused(lambda: read_labels(folder / "seg.dcm"), "TemporalPositionIndex")


@row("io/seg_sparse_slices_without_spacing", "0.0504 ml; `--like ct` works")
def sparse(folder: Path) -> str:
    for like in (None, read_scan(folder / "ct")):
        labels = read_labels(folder / "seg.dcm", like=like)
        ml = float((labels.values > 0).sum() * np.prod(labels.grid.spacing_mm) / 1000)
        assert abs(ml - 0.0504) < 1e-4, f"{ml} ml"
    return f"{ml:.4f} ml"


@row("io/rtstruct_one_number_for_two_rois", "refused, number named")
def one_number(folder: Path) -> str:
    return refused(lambda: read_labels(folder / "ct" / "rs.dcm"), "number 19", "liver", "tumour")


@row("io/rtstruct_of_two_frames_of_reference", "B left out and told")
def two_frames(folder: Path) -> str:
    labels = read_labels(folder / "ct" / "rs.dcm")
    assert labels.table.names == ("A",), labels.table.names
    (note,) = [note for note in labels.provenance.notes if "frame of reference" in note]
    return note


@row("io/rtstruct_of_many_rois", "a few seconds")
def many_regions(folder: Path) -> str:
    steps: list[str] = []
    start = time.process_time()
    labels = read_labels(folder / "ct" / "rs.dcm", progress=lambda *step: steps.append(step[2]))
    seconds = time.process_time() - start
    assert len(np.unique(labels.values)) == 41, "regions are missing"
    assert len(steps) >= 80, "no progress"
    assert seconds <= _MOST_CPU_SECONDS, f"{seconds:.1f} s of CPU"
    return f"{seconds:.1f} s of CPU, {len(steps)} steps of progress"


@row("io/seg_of_a_source_with_odd_values", "written, or the field named")
def odd_values(folder: Path) -> str:
    for name in ("words", "time"):
        labels, source = folder / "labels.nii.gz", folder / name
        medseg("convert", labels, folder / f"{name}.dcm", "--like", source)
        on_scan = read_labels(folder / f"{name}.dcm", like=read_scan(source))
        assert np.array_equal(on_scan.values, read_labels(labels, like=read_scan(source)).values)
    return "written and read back"


@row("io/evaluate_nii_beside_nii_gz", "refused, both named")
def two_of_one_name(folder: Path) -> str:
    pair = folder / "predictions", folder / "truth"
    said = medseg("evaluate", *pair, "--output", folder / "s.json", code=2)
    assert "'a.nii'" in said, said
    assert "'a.nii.gz'" in said, said
    return said


@row("io/evaluate_other_axis_order", "Dice 1.000")
def other_axes(folder: Path) -> str:
    pair = folder / "predictions", folder / "truth"
    said = medseg("evaluate", *pair, "--output", folder / "s.csv", "--no-surface")
    scores = (folder / "s.csv").read_text().splitlines()
    at = scores[0].split(",").index("dice")
    assert {float(line.split(",")[at]) for line in scores[1:]} == {1.0}, said
    return "Dice 1.000 of each label"


@row("geometry/seg_cases:window_moves_between_slices", "at its place, or the frame named")
def moved_window(folder: Path) -> str:
    return refused(lambda: read_labels(folder / "window_moves_between_slices.dcm"), "frame 2")


@row("geometry/seg_cases:each_segment_in_its_own_window", "at its place, or the frame named")
def window_of_each(folder: Path) -> str:
    path = folder / "each_segment_in_its_own_window.dcm"
    refused(lambda: read_labels(path, segments=["b"]), "frame 2")
    return refused(lambda: read_labels(path), "frame 2")


@row("geometry/seg_cases:black_background", "24 voxels on each of 3 slices")
def black(folder: Path) -> str:
    values = read_labels(folder / "black_background.dcm").values
    counts = (values == 1).sum(axis=(0, 1)).tolist()
    assert counts == [24, 24, 24], counts
    return f"{counts}"


@row("geometry/seg_cases:blue_of_d50", "24 voxels, colour near (0, 0, 255)")
def blue(folder: Path) -> str:
    labels = read_labels(folder / "blue_of_d50.dcm")
    assert (labels.values == 1).sum() == 24, "other voxels"
    (label,) = labels.table
    assert np.abs(np.subtract(label.color, (0, 0, 255))).max() < 50, label.color
    return f"{label.color}"
