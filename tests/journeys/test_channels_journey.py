"""A model of several channels, used with the files that people have."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

import medseg
from medseg.errors import GeometryError, InputError
from medseg.phantoms.dicom_archive import write_series
from medseg.reading import read_labels, read_scan
from medseg.volume import Grid
from medseg.writing import write_scan
from toy_model import tiny_model


@pytest.fixture(scope="module")
def pair_model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("pair") / "pair", channels=("T1", "T2")).folder


@pytest.fixture
def pair(phantom):
    """Two channels that a network tells apart: a scan and its values turned round."""
    scan = phantom[0]
    return scan, dataclasses.replace(scan, voxels=100 - scan.voxels)


@pytest.fixture
def wanted(pair, pair_model):
    """Labels of the two channels in the right order, computed of a scan in memory."""
    both = dataclasses.replace(pair[0], voxels=np.concatenate([one.voxels for one in pair]))
    return medseg.Predictor.load(pair_model, device="cpu").predict(both).values


def put(folder, pair, *names):
    folder.mkdir(exist_ok=True)
    return [write_scan(one, folder / name) for one, name in zip(pair, names, strict=True)]


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("a.nii.gz", "b.nrrd"), "in order"),
        (("c_0000.nii.gz", "c_0001.nii.gz"), "in order"),
        (("c_0000.nii.gz", "c_0001.nii.gz"), "turned round"),
        (("patient-t1.nii.gz", "patient-t2.nii.gz"), "turned round"),
        (("c_0000.nii.gz", "c_0001.nii.gz"), "folder"),
        (("T1.nii.gz", "T2.nii.gz"), "folder"),
    ],
)
def test_every_way_of_giving_two_files(run, pair, pair_model, wanted, tmp_path, names, given):
    paths = put(tmp_path / "case", pair, *names)
    write_scan(pair[0], tmp_path / "case" / "c_seg.nii.gz")
    what = {"in order": paths, "turned round": paths[::-1], "folder": [tmp_path / "case"]}[given]
    output = tmp_path / "out.nii.gz"
    result = run("segment", *what, "--model", pair_model, "--output", output, "--device", "cpu")
    assert result.exit_code == 0, result.output
    labels = read_labels(output)
    assert np.array_equal(labels.values, wanted)
    assert np.array_equal(labels.grid.affine, read_scan(paths[0]).grid.affine)
    assert f"T1 is '{names[0]}'" in result.output
    assert f"T2 is '{names[1]}'" in result.output
    by_code = medseg.segment(what, pair_model, tmp_path / "code.nii.gz", device="cpu")
    assert np.array_equal(by_code.labels.values, wanted)


def test_one_file_of_four_dimensions(run, pair, pair_model, wanted, tmp_path):
    both = dataclasses.replace(pair[0], voxels=np.concatenate([one.voxels for one in pair]))
    path, output = write_scan(both, tmp_path / "both.nii.gz"), tmp_path / "out.nii.gz"
    assert run("segment", path, "--model", pair_model, "--output", output).exit_code == 0
    assert np.array_equal(read_labels(output).values, wanted)


def test_two_series_of_one_study(run, pair, pair_model, wanted, tmp_path):
    for number, scan in enumerate(pair, start=1):
        write_series(scan, tmp_path / "study" / str(number), patient=1, number=number)
    folders = [tmp_path / "study" / str(number) for number in (1, 2)]
    outputs = [tmp_path / "folders.dcm", tmp_path / "series.nii.gz"]
    ways = [folders, [tmp_path / "study", "--series", 1, "--series", 2]]
    for what, output in zip(ways, outputs, strict=True):
        result = run("segment", *what, "--model", pair_model, "--output", output)
        assert result.exit_code == 0, result.output
        assert np.array_equal(read_labels(output, like=read_scan(folders[0])).values, wanted)


def test_a_model_of_one_channel_takes_a_folder_of_one_file(run, model, phantom, tmp_path):
    put(tmp_path / "case", phantom[:1], "c_0000.nii.gz")
    outputs = [tmp_path / "folder.nii.gz", tmp_path / "file.nii.gz"]
    for what, output in zip(("case", "case/c_0000.nii.gz"), outputs, strict=True):
        result = run("segment", tmp_path / what, "--model", model, "--output", output)
        assert result.exit_code == 0, result.output
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_what_does_not_fit_is_refused_by_name(run, pair, pair_model, tmp_path):
    folder = tmp_path / "case"
    first, second = put(folder, pair, "c_0000.nii.gz", "c_0001.nii.gz")
    other = dataclasses.replace(
        pair[1], grid=Grid(pair[1].grid.shape, np.diag([11, 10, 12, 1.0]) @ np.eye(4))
    )
    write_scan(other, tmp_path / "other.nii.gz")
    output = tmp_path / "out.nii.gz"

    def said(*what):
        result = run("segment", *what, "--model", pair_model, "--output", output)
        assert result.exit_code == 2
        assert not output.exists()
        return result.stderr

    assert "'c_0000.nii.gz': 1 channel(s) were read" in said(first)
    assert "2 channels (T1, T2)" in said(first)
    assert "3 files were given and the model takes 2 channels (T1, T2)" in said(
        first, second, second
    )
    assert "given twice" in said(first, first)
    sentence = said(first, tmp_path / "other.nii.gz")
    assert "'other.nii.gz' does not lie on the grid of 'c_0000.nii.gz'" in sentence
    shutil.copy(first, folder / "d_0000.nii.gz")
    assert "2 cases, such as 'c' and 'd'" in said(folder)
    (folder / "d_0000.nii.gz").unlink()
    shutil.copy(first, folder / "c_0000.nii")
    assert "has 2 files of T1" in said(folder)
    (folder / "c_0000.nii").unlink()
    shutil.copy(first, folder / "c_0002.nii.gz")
    assert "has a file of channel _0002" in said(folder)
    (folder / "c_0002.nii.gz").unlink()
    second.unlink()
    assert "has no file of T2 (_0001)" in said(folder)
    assert "case 'c' in" in said(folder)
    with pytest.raises(InputError, match=r"no file of T2"):
        medseg.segment(folder, pair_model, output)
    with pytest.raises(GeometryError):
        medseg.segment([first, tmp_path / "other.nii.gz"], pair_model, output)


def test_a_model_given_twice_is_refused(run, model, scan_file, tmp_path):
    twice = ("--model", model, "--model", "hippocampus-mr")
    result = run("segment", scan_file, *twice, "--output", tmp_path / "out.nii.gz")
    assert result.exit_code == 2
    assert "given 2 times" in result.stderr


def test_probabilities_beside_the_labels(run, model, phantom, scan_file, tmp_path):
    output = tmp_path / "out.nrrd"
    arguments = ("segment", scan_file, "--model", model, "--output", output, "--device", "cpu")
    result = run(*arguments, "--probabilities")
    assert result.exit_code == 0, result.output
    scan, labels = read_scan(scan_file), read_labels(output)
    shares = read_scan(tmp_path / "out.probabilities.nii.gz")
    assert shares.voxels.dtype == np.uint8
    assert np.array_equal(shares.grid.affine, scan.grid.affine)
    names = medseg.ModelPackage.open(model).manifest.labels.names
    assert shares.channel_names == ("background", *names)
    assert np.abs(shares.voxels.sum(axis=0, dtype=int) - 255).max() <= len(names)
    best = np.take_along_axis(shares.voxels, labels.values[None].astype(int), axis=0)
    assert (shares.voxels.max(axis=0) == best[0]).all()
    more = medseg.segment(scan_file, model, output, device="cpu", probabilities=True)
    assert np.array_equal(more.probabilities.voxels, shares.voxels)
