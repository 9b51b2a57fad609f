"""From the command line: what augments training patches, and a plan told in sentences."""

import json

import pytest
from msgspec import structs

from medseg.planning import Normalisation, read_plan
from medseg.planning.plan import augmentation_preset, encode
from toy_dataset import TOY_PLAN, write_toy


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("data") / "toy", cases=5)


@pytest.fixture
def train(run, dataset, tmp_path):
    def start(name, *arguments):
        common = ("--output", tmp_path / name, "--device", "cpu", "--modality", "MR")
        return run("train", dataset, *common, "--steps", "1", *arguments)

    return start


def test_a_preset_is_written_into_the_plan_and_explained(train, run, tmp_path):
    result = train("light", "--augmentation", "light")
    assert result.exit_code == 0, result.output
    stored = tmp_path / "light" / "plan.json"
    assert read_plan(stored).augmentation == augmentation_preset("light")
    explained = run("plan", "explain", tmp_path / "light")
    assert explained.exit_code == 0, explained.output
    assert "noise of the receiver (probability 0.1, noise 0 to 0.05 std)" in explained.stdout
    assert "rotation 10 degrees" in explained.stdout
    assert "may be mirrored: right-left, front-back, head-feet" in explained.stdout
    for source in (stored, tmp_path / "light" / "model"):
        assert run("plan", "explain", source).stdout == explained.stdout


def test_a_plan_says_what_is_cut_off_and_which_voxels_count(run, tmp_path):
    rules = (Normalisation(nonzero=True),)
    crops = structs.replace(TOY_PLAN, crop="padding", scan_mm=(35, 50.5, 36), normalisation=rules)
    (tmp_path / "plan.json").write_bytes(encode(crops))
    said = " ".join(run("plan", "explain", tmp_path / "plan.json").stdout.split())
    assert "nothing but padding are cut off first" in said
    assert "The training scans are 35 x 50.5 x 36 mm (median)." in said
    assert "voxels that are not 0 are scaled by their own mean" in said
    (tmp_path / "plan.json").write_bytes(encode(TOY_PLAN))
    assert "padding" not in run("plan", "explain", tmp_path / "plan.json").stdout


def test_a_plan_that_may_be_of_pictures_says_what_a_pixel_counts_as(run, tmp_path):
    flat = structs.replace(TOY_PLAN, plane="axial", spacing_mm=(1.0, 1.0, 1.0), patch=(16, 16, 1))
    for plan, is_told in ((flat, True), (structs.replace(flat, spacing_mm=(1.0, 1.0, 3.0)), False)):
        (tmp_path / "plan.json").write_bytes(encode(plan))
        said = " ".join(run("plan", "explain", tmp_path / "plan.json").stdout.split())
        assert ("Of pictures a pixel counts as 1 mm" in said) is is_told


@pytest.mark.slow
def test_a_preset_takes_the_place_of_what_a_given_plan_says(train, run, tmp_path):
    assert train("first", "--augmentation", "none").exit_code == 0
    plan = tmp_path / "first" / "plan.json"
    assert "not augmented" in run("plan", "explain", plan).stdout
    assert train("as-it-says", "--plan", plan).exit_code == 0
    assert read_plan(tmp_path / "as-it-says" / "plan.json").augmentation == ()
    assert train("another", "--plan", plan, "--augmentation", "strong").exit_code == 0
    strong = augmentation_preset("strong", modality="MR")
    assert read_plan(tmp_path / "another" / "plan.json").augmentation == strong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("augmentation", "word"),
    [
        ([{"name": "gama", "settings": {}}], "gamma"),
        ([{"name": "gamma", "settings": {"gamma": [2, 1]}}], "do not fall"),
        ([{"name": "affine", "settings": {"rotation": 20}}], "rotation"),
    ],
)
def test_a_wrong_augmentation_is_one_sentence_and_nothing_is_made(
    train, run, tmp_path, augmentation, word
):
    assert train("first").exit_code == 0
    content = json.loads((tmp_path / "first" / "plan.json").read_text("utf-8"))
    wrong = tmp_path / "plan.json"
    wrong.write_text(json.dumps(content | {"augmentation": augmentation}))
    for result in (train("second", "--plan", wrong), run("plan", "explain", wrong)):
        assert result.exit_code == 2
        assert word in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "second").exists()


def test_shipped_models_explain_themselves(run):
    result = run("plan", "explain", "hippocampus-mr")
    assert result.exit_code == 0
    assert "resampled to 1 x 1 x 1 mm" in result.stdout
    assert "rotation 20 degrees" in result.stdout
    assert run("plan", "explain", "no-such-model").exit_code == 2
    assert run("plan", "explain", "no-such-plan.json").exit_code == 2


@pytest.mark.slow
def test_left_and_right_are_told_before_the_training_and_in_the_plan(train, run, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"Niere links": 1, "Niere rechts": 2}), encoding="utf-8")
    told = train("sides", "--labels", labels)
    assert told.exit_code == 0, told.output
    sentence = "Patches are not mirrored left to right: 'Niere links'"
    assert sentence in " ".join(told.stderr.split())
    stored = tmp_path / "sides" / "plan.json"
    assert read_plan(stored).mirror_axes == (1, 2)
    assert sentence in " ".join(run("plan", "explain", stored).stdout.split())
    content = json.loads(stored.read_text(encoding="utf-8"))
    stored.write_text(json.dumps(content | {"mirror_axes": [0, 1]}), encoding="utf-8")
    chosen = train("chosen", "--labels", labels, "--plan", stored)
    assert chosen.exit_code == 0, chosen.output
    assert "as the plan says, although 'Niere links'" in " ".join(chosen.stderr.split())
    assert read_plan(tmp_path / "chosen" / "plan.json").mirror_axes == (0, 1)
