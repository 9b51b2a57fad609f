"""A model of several channels over an archive; several models; probabilities."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import medseg
from batch_stand_ins import InlinePool, files_below
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.reading import read_labels, read_scan
from medseg.writing import write_labels, write_scan
from medseg_pipelines.batch import archive_run
from medseg_pipelines.batch.ledger.ledger import Ledger
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.reports.label_maps import label_maps
from medseg_pipelines.cli import medseg as command
from toy_model import tiny_model

SMALL = ct_grid(shape=(16, 14, 8), spacing_mm=(20.0, 19.0, 30.0))


@pytest.fixture(scope="module")
def pair_model(tmp_path_factory):
    channels = ("T1", "T1 ce")
    return tiny_model(tmp_path_factory.mktemp("pair") / "pair", name="pair", channels=channels)


def put(folder, number, *names):
    """A scan, and the same with its values turned round, as the channels of one patient."""
    folder.mkdir(parents=True, exist_ok=True)
    scan, labels = abdominal_ct(number, SMALL)
    other = dataclasses.replace(scan, voxels=100 - scan.voxels)
    paths = [write_scan(one, folder / name) for one, name in zip((scan, other), names, strict=True)]
    return paths, labels


@pytest.fixture
def archive(tmp_path):
    """Two patients by number in one folder, one by name in its own, one in one file."""
    root = tmp_path / "archive"
    for number in (1, 2):
        put(root / "images", number, f"c{number}_0000.nii.gz", f"c{number}_0001.nii.gz")
    (first, second), labels = put(root / "p3", 3, "BraTS_p3-t1.nii.gz", "BraTS_p3-t1ce.nii.gz")
    write_labels(labels, root / "p3" / "BraTS_p3-t1.seg.nrrd")
    both = np.concatenate([read_scan(first).voxels, read_scan(second).voxels])
    write_scan(dataclasses.replace(read_scan(first), voxels=both), root / "four.nii.gz")
    write_scan(read_scan(first), root / "alone.nii.gz")
    return root


def rows(output):
    with Ledger.of(output) as ledger:
        return {row.scan.case or row.scan.path.rpartition("/")[2]: row for row in ledger.rows()}


def test_files_of_a_case_are_one_scan(archive, pair_model, output, go):
    diary = go(by=pair_model.folder)
    cases = rows(output)
    states = {name: row.state for name, row in cases.items()}
    done = dict.fromkeys(("c1", "c2", "BraTS_p3", "four.nii.gz"), "done")
    assert states == {**done, "alone.nii.gz": "refused", "BraTS_p3-t1.seg.nrrd": "refused"}
    assert cases["alone.nii.gz"].code == "CHANNELS"
    maps = label_maps(output)
    predictor = medseg.Predictor.load(pair_model, device="cpu")
    both = read_scan(archive / "four.nii.gz")
    labels = read_labels(maps["BraTS_p3"])
    assert np.array_equal(labels.values, predictor.predict(both).values)
    assert np.array_equal(labels.values, read_labels(maps["four"]).values)
    first = read_scan(archive / "p3" / "BraTS_p3-t1.nii.gz")
    assert np.array_equal(labels.grid.affine, first.grid.affine)
    assert {"c1", "c2"} <= set(maps)
    record = json.loads(maps["c1"].with_name("c1.case.json").read_text())
    assert record["source"]["files"] == 2
    assert diary.plan.new == 5


def test_a_missing_channel_is_refused_and_taken_up_once_it_is_there(
    archive, pair_model, output, go, tmp_path
):
    second = archive / "images" / "c2_0001.nii.gz"
    shutil.move(second, tmp_path / "away.nii.gz")
    go(by=pair_model.folder)
    case = rows(output)["c2"]
    assert (case.state, case.code) == ("refused", "CHANNELS")
    assert "it has no file of T1 ce (_0001)" in case.message
    assert "c2" not in case.message
    assert rows(output)["c1"].state == "done"
    shutil.move(tmp_path / "away.nii.gz", second)
    diary = go(by=pair_model.folder)
    assert [row.scan.case for row in diary.rows] == ["c2"]
    assert diary.rows[0].state == "done"
    other = dataclasses.replace(read_scan(second), voxels=read_scan(second).voxels + 1)
    write_scan(other, second)
    assert [row.scan.case for row in go(by=pair_model.folder).rows] == ["c2"]
    assert go(by=pair_model.folder).rows == []


def test_a_model_of_one_channel_takes_numbered_files(archive, model, output, go):
    go()
    numbered = [name for name in rows(output) if name.endswith(("_0000.nii.gz", "_0001.nii.gz"))]
    assert len(numbered) == 4
    assert {rows(output)[name].state for name in numbered} == {"done"}


def test_channels_on_other_grids_are_refused(archive, pair_model, output, go):
    scan, _ = abdominal_ct(1, SMALL)
    cut = dataclasses.replace(
        scan,
        voxels=scan.voxels[..., :-1],
        grid=medseg.Grid((*scan.grid.shape[:2], scan.grid.shape[2] - 1), scan.grid.affine),
    )
    write_scan(cut, archive / "images" / "c1_0001.nii.gz")
    go(by=pair_model.folder)
    case = rows(output)["c1"]
    assert (case.state, case.code) == ("refused", "OTHER_GRID")
    assert "c1" not in case.message


def test_two_models_have_a_folder_each(archive, model, pair_model, output, monkeypatch):
    monkeypatch.setattr(archive_run, "_pool", lambda _: InlinePool)

    def run(*models):
        every = [word for folder in models for word in ("--model", str(folder))]
        call = ["batch", str(archive), *every, "--output", str(output), "--device", "cpu"]
        return CliRunner().invoke(command, [*call, "--quiet"])

    first = run(model, pair_model.folder)
    assert first.exit_code == 0, first.output
    assert {path.name for path in output.iterdir()} == {"tiny", "pair"}
    before = {name: files_below(output / name) for name in ("tiny", "pair")}
    assert set(label_maps(output / "pair")) == {"c1", "c2", "BraTS_p3", "four"}
    again = run(pair_model.folder, model)
    assert again.exit_code == 0
    labels = {name: path for name, path in files_below(output / "tiny").items() if "nii" in name}
    assert labels == {name: data for name, data in before["tiny"].items() if "nii" in name}
    refused = run(model, model)
    assert refused.exit_code == 2
    assert "two of the models are called 'tiny'" in refused.output
    assert CliRunner().invoke(command, ["batch", "status", str(output)]).output.count("pair") == 1


def test_probabilities_of_every_case(archive, pair_model, output, go):
    go(by=pair_model.folder, settings=Settings(formats=("nifti", "probabilities")))
    folder = label_maps(output)["c1"].parent
    shares = read_scan(folder / "c1.probabilities.nii.gz")
    assert shares.voxels.dtype == np.uint8
    assert shares.grid.same_as(read_labels(folder / "c1.nii.gz").grid)
    assert shares.channel_names[0] == "background"
    record = json.loads((folder / "c1.case.json").read_text())
    assert "probabilities.nii.gz" in record["files"]
