"""`medseg dataset check`: every case, what is wrong, and what a training will take."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from medseg.planning.plan import encode
from toy_dataset import TOY_PLAN, toy_case, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def root(tmp_path):
    return write_toy(tmp_path / "toy", cases=5)


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.json"
    path.write_bytes(encode(TOY_PLAN))
    return path


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_dataset_that_is_well(run, root, plan):
    result = run("dataset", "check", root, "--plan", plan, "--steps", "60", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "held out" in result.output
    assert "20 x 20 x 20" in result.output
    assert "60 steps of 2 patches of 16 x 16 x 16 voxels" in result.output
    assert "0.2 MB on disk" in result.output
    last = result.output.splitlines()[-1]
    assert last == "toy, 5 case(s), can be trained on: 0 error(s), 0 warning(s), 0 note(s)."


def test_a_fault_in_a_held_out_case_is_found_and_training_refuses_it(run, root, plan, tmp_path):
    cut(root / "images" / "c4.nii.gz")
    result = run("dataset", "check", root)
    assert result.exit_code == 1
    assert "error: c4: c4.nii.gz cannot be read" in result.output
    assert "cannot be trained on as it is: 1 error(s)" in result.output
    folder = tmp_path / "run"
    result = run("train", root, "--output", folder, "--plan", plan, "--device", "cpu")
    assert result.exit_code == 2
    assert result.stderr.startswith("medseg: error: c4: c4.nii.gz cannot be read")
    assert not folder.exists()


def test_findings_of_one_kind_are_counted(run, root, plan):
    for path in [*(root / "images").iterdir(), *(root / "labels").iterdir()]:
        shutil.copy(path, path.with_name(f"more_{path.name}"))
        cut(path)
        cut(path.with_name(f"more_{path.name}"))
    lines = run("dataset", "check", root).output.splitlines()
    assert sum("cannot be read" in line for line in lines) == 5
    assert "error: 5 more [UNREADABLE], all of them in --json" in lines


def test_pictures_are_measured_in_pixels_and_told_of_once(run, tmp_path):
    """A pixel of a picture has no size in mm."""
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "films" / part).mkdir(parents=True)
    for case in range(6):
        mask = np.zeros((24, 24), np.uint8)
        mask[4 : 14 + case, 5:17] = 1
        film = random.integers(0, 200, mask.shape, dtype=np.uint8) + 50 * mask
        Image.fromarray(film).save(tmp_path / "films" / "images" / f"p{case}.png")
        Image.fromarray(mask).save(tmp_path / "films" / "masks" / f"p{case}_mask.png")
    result = run("dataset", "check", tmp_path / "films", "--steps", "20", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "label 1 120 pixels" in result.output
    assert "not known" in result.output
    assert " ml" not in result.output
    assert result.output.count("PIXELS_ONLY") == 1
    assert "note: 6 cases: PIXELS_ONLY: a picture" in result.output


def test_for_programs_there_is_one_document(run, root, plan):
    result = run("dataset", "check", root, "--plan", plan, "--device", "cpu", "--json")
    document = json.loads(result.output)
    assert list(document) == [
        *("schema_version", "dataset", "fold", "cases", "findings", "trainable", "estimate")
    ]
    assert document["trainable"] is True
    assert document["cases"][0]["volumes_ml"]["core"] == pytest.approx(64 * 1.2**3 / 1000)
    assert document["estimate"]["steps"] == 2000
    cut(root / "labels" / "c1.nii.gz")
    document = json.loads(run("dataset", "check", root, "--json", "--fold", "all").output)
    assert (document["trainable"], document["fold"], document["estimate"]) == (False, None, None)
    (finding,) = document["findings"]
    assert (finding["severity"], finding["code"], finding["case"]) == ("error", "UNREADABLE", "c1")


def test_options_of_the_dataset_are_those_of_training(run, root, tmp_path):
    splits, names = tmp_path / "splits.json", tmp_path / "names.json"
    splits.write_text(json.dumps([{"train": ["c0", "c1"], "val": ["c2"]}]))
    names.write_text('{"1": "liver", "2": "spleen"}')
    options = ("--splits", splits, "--labels", names, "--device", "cpu", "--json")
    assert run("dataset", "check", root, *options, "--fold", "3").exit_code == 2
    document = json.loads(run("dataset", "check", root, *options, "--modality", "CT").output)
    assert set(document["cases"][0]["volumes_ml"]) == {"liver", "spleen"}
    assert {case["modality"] for case in document["cases"]} == {"CT"}
    assert np.prod(document["cases"][0]["shape"]) == toy_case(0)[0].size
