import json

import numpy as np
import pydicom
import pytest

from medseg.reading import read_labels, read_scan
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.volume.conventions import Reorientation
from medseg.writing import write_labels
from writing.dicom_validator import errors_of


@pytest.fixture
def converted(run):
    def call(source, target, *options):
        result = run("convert", source, target, *options)
        assert result.exit_code == 0, result.output
        return target

    return call


def test_round_the_formats(converted, tmp_path, series, phantom):
    """NIfTI to SEG to structure set to .seg.nrrd and back: the same voxels and names."""
    truth = phantom[1]
    scan = read_scan(series)
    first = write_labels(LabelMap(truth.values, scan.grid, truth.table), tmp_path / "a.nii.gz")
    seg = converted(first, tmp_path / "a.dcm", "--like", series)
    contours = converted(seg, tmp_path / "a.rtstruct.dcm", "--like", series)
    again = converted(contours, tmp_path / "b.nii.gz", "--like", series)
    back = read_labels(again)
    assert np.array_equal(back.values, truth.values)
    assert back.table.names == truth.table.names
    assert back.grid.same_as(scan.grid)
    assert errors_of(seg) == []
    assert errors_of(contours) == []


def test_a_segmentation_without_its_empty_slices_finds_its_place(converted, tmp_path, series):
    scan = read_scan(series)
    values = np.zeros(scan.grid.shape, np.uint8)
    values[3:9, 4:8, 6:9] = 1
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "liver"}), scan.provenance)
    dataset = pydicom.dcmread(write_labels(labels, tmp_path / "a.dcm", encoding="labelmap"))
    dataset.decompress()
    pixels = dataset.pixel_array
    frames = np.flatnonzero(pixels.any((1, 2)))
    dataset.PixelData = pixels[frames].tobytes()
    groups = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = [groups[frame] for frame in frames]
    dataset.NumberOfFrames = len(frames)
    dataset.save_as(tmp_path / "cut.dcm")
    assert read_labels(tmp_path / "cut.dcm").grid.shape[2] == 3
    back = read_labels(converted(tmp_path / "cut.dcm", tmp_path / "b.nii.gz", "--like", series))
    assert np.array_equal(back.values, values)


def test_axes_in_another_order_are_put_back(converted, tmp_path, phantom, scan_file):
    truth = phantom[1]
    turn = Reorientation.towards(truth.grid, "SRA")
    turned = LabelMap(turn.apply(truth.values), turn.target, truth.table)
    path = write_labels(turned, tmp_path / "turned.nii.gz")
    back = read_labels(converted(path, tmp_path / "b.nii.gz", "--like", scan_file))
    assert np.array_equal(back.values, truth.values)


def test_labels_of_another_grid_are_refused(run, tmp_path, phantom, scan_file):
    truth = phantom[1]
    affine = truth.grid.affine.copy()
    affine[0, 3] += 2.5
    moved = LabelMap(truth.values, Grid(truth.grid.shape, affine), truth.table)
    path = write_labels(moved, tmp_path / "moved.nii.gz")
    result = run("convert", path, tmp_path / "b.nii.gz", "--like", scan_file)
    assert result.exit_code == 2
    assert "voxels away" in result.stderr
    assert not (tmp_path / "b.nii.gz").exists()


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_scans(converted, tmp_path, series, ending):
    scan = read_scan(series)
    back = read_scan(converted(series, tmp_path / f"a{ending}"))
    assert np.array_equal(back.voxels, scan.voxels)
    assert back.grid.same_as(scan.grid)


def test_a_file_that_names_its_labels_is_a_label_map(converted, tmp_path, truth_file, phantom):
    back = read_labels(converted(truth_file, tmp_path / "a.nrrd"))
    assert back.table.names == phantom[1].table.names
    plain = read_scan(converted(truth_file, tmp_path / "b.nrrd", "--kind", "scan"))
    assert np.array_equal(plain.voxels[0], phantom[1].values)


def test_volumes_and_picture(converted, tmp_path, truth_file, scan_file):
    rows = json.loads(converted(truth_file, tmp_path / "a.json").read_text("utf-8"))["labels"]
    assert rows[0]["label"] == "liver"
    assert rows[0]["volume_ml"] > 100
    picture = converted(truth_file, tmp_path / "a.png", "--like", scan_file).read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_one_label_only(converted, tmp_path, truth_file):
    back = read_labels(converted(truth_file, tmp_path / "a.nii.gz", "--label", "liver"))
    assert back.table.names == ("liver",)


def test_segments_that_overlap(run, converted, tmp_path, shared_data):
    path = shared_data / "dicom_seg_rtstruct/highdicom/seg_image_ct_binary_overlap.dcm"
    result = run("convert", path, tmp_path / "a.nii.gz")
    assert result.exit_code == 2
    assert "--segments" in result.stderr
    assert "--overlaps" in result.stderr
    back = read_labels(converted(path, tmp_path / "a.nii.gz", "--segments", "second segment"))
    assert back.table.names == ("second segment",)
    result = run("convert", path, tmp_path / "b.nii.gz", "--overlaps", "first")
    assert result.exit_code == 0
    assert "Note:" in result.output
    assert read_labels(tmp_path / "b.nii.gz").table.values == (1, 2)


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("a.dcm", (), "--like"),
        ("a.rtstruct.dcm", (), "--like"),
        ("a.png", (), "--like"),
        ("a.xyz", (), ".nii.gz"),
        ("a.nii.gz", ("--label", "tail"), "liver"),
        ("a.nii.gz", ("--encoding", "binary"), "encoding"),
    ],
)
def test_refusals_are_one_sentence(run, tmp_path, truth_file, target, options, words):
    result = run("convert", truth_file, tmp_path / target, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / target).exists()
