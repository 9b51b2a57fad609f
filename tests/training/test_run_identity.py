"""A run knows what it is: its labels, folds, files and options, whatever is changed around it."""

import json
import warnings
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest
from msgspec import structs

import medseg
from medseg.errors import Cancelled, InputError, LabelError, MedsegError, PlanError
from medseg.planning import Component, Normalisation
from medseg.planning.plan import decode_plan, encode
from medseg.training import TrainingOptions, open_dataset
from medseg.training.history import read_history
from medseg.training.resuming import stored_options
from medseg.training.run_identity import read_identity
from medseg.training.state import read_state
from toy_dataset import TOY_PLAN, toy_case, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(steps=3, validations=0, device="cpu", learning_rate=1e-3)


@pytest.fixture
def folder(tmp_path):
    return write_toy(tmp_path / "toy", cases=4)


def stop(done, total, message):
    if message.startswith("training"):
        raise Cancelled("enough")


@pytest.fixture
def stopped(folder, tmp_path):
    """A run of own label names and folds, stopped after its first step."""
    names, splits = tmp_path / "names.json", tmp_path / "splits.json"
    names.write_text('{"1": "liver", "2": "spleen"}')
    splits.write_text(json.dumps([{"train": ["c0", "c1"], "val": ["c2"]}]))
    data = open_dataset(folder, labels=names, splits=splits)
    with suppress(Cancelled):
        medseg.train(data, tmp_path / "run", options=OPTIONS, plan=TOY_PLAN, progress=stop)
    return tmp_path / "run"


def write(folder, name, image, labels):
    for part, array in (("images", image), ("labels", labels)):
        if array is not None:
            file = nib.Nifti1Image(array, np.diag([1.2, 1.2, 1.2, 1]))
            nib.save(file, folder / part / f"{name}.nii.gz")


def test_resuming_needs_nothing_but_the_run(stopped, folder, tmp_path):
    (tmp_path / "names.json").unlink()
    (tmp_path / "splits.json").unlink()
    write(folder, "c9", *toy_case(9))
    model = medseg.train(None, stopped, resume=True)
    manifest = json.loads((model / "manifest.json").read_text())
    assert [label["name"] for label in manifest["labels"]["labels"]] == ["liver", "spleen"]
    assert manifest["provenance"]["cases"] == "2"
    assert {file.name.split(".")[0] for file in (stopped / "cache").iterdir()} == {"c0", "c1", "c2"}
    assert [row["step"] for row in read_history(stopped)] == [1, 2, 3]


def test_other_names_folds_and_cases_are_refused(stopped, folder, tmp_path):
    names, splits = tmp_path / "names.json", tmp_path / "splits.json"
    with pytest.raises(LabelError, match=r"1 liver, 2 spleen and .* now has 1 box, 2 core"):
        medseg.train(open_dataset(folder, splits=splits), stopped, resume=True)
    splits.write_text(json.dumps([{"train": ["c0", "c1", "c3"], "val": ["c2"]}]))
    others = open_dataset(folder, labels=names, splits=splits)
    with pytest.raises(InputError, match="fold 0 of the run does not train on 'c3'"):
        medseg.train(others, stopped, resume=True)
    for part in ("images", "labels"):
        (folder / part / "c3.nii.gz").unlink()
    with pytest.raises(InputError, match="no longer has case c3"):
        medseg.train(None, stopped, resume=True)
    assert read_state(stopped / "checkpoint.safetensors").step == 1


def test_other_patients_under_the_same_names_are_refused(stopped, folder, tmp_path):
    other = write_toy(tmp_path / "other", cases=4)
    write(other, "c2", *toy_case(77))
    with pytest.raises(InputError, match=r"is not the dataset that the run .* case c2 are others"):
        medseg.train(other, stopped, resume=True)
    for number in range(4):
        write(folder, f"c{number}", *toy_case(100 + number))
    with pytest.raises(InputError, match="cases c0, c1, c2, c3 are others"):
        medseg.train(None, stopped, resume=True)


def test_the_same_files_in_another_place_are_the_same_dataset(stopped, folder, tmp_path):
    assert medseg.train(folder.rename(tmp_path / "moved"), stopped, resume=True)


def test_a_case_whose_labels_were_corrected_is_prepared_anew(stopped, folder):
    before = {file: file.stat().st_ino for file in (stopped / "cache").iterdir()}
    corrected = np.zeros((20, 20, 20), np.uint8)
    corrected[:3, :3, :3], corrected[15:, 15:, 15:] = 1, 2
    for name in ("c1", "c2"):
        write(folder, name, None, corrected)
    with pytest.warns(UserWarning, match="files of cases c1, c2 changed since"):
        medseg.train(None, stopped, resume=True)
    cache = stopped / "cache"
    assert np.array_equal(np.load(cache / "c1.labels.npy"), corrected)
    assert np.array_equal(np.load(cache / "c2.truth.npy"), corrected)
    assert (cache / "c0.labels.npy").stat().st_ino == before[cache / "c0.labels.npy"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        medseg.train(None, stopped, options=structs.replace(OPTIONS, steps=4), resume=True)


def test_every_case_has_its_digests_and_folds_their_names(stopped):
    identity = read_identity(stopped)
    assert set(identity.images) == set(identity.label_maps) == {"c0", "c1", "c2", "c3"}
    assert len({*identity.images.values(), *identity.label_maps.values()}) == 8
    assert sorted(identity.folds[0].train) == ["c0", "c1"]


def test_a_run_that_failed_before_its_first_step_is_in_no_way(folder, tmp_path):
    run = tmp_path / "run"
    bad = structs.replace(OPTIONS, settings={"features": [4, 8]})
    with pytest.raises(PlanError, match="features"):
        medseg.train(folder, run, options=bad)
    assert not run.exists()
    write(folder, "c1", np.full((20, 20, 20), np.nan, np.float32), None)
    with pytest.raises(MedsegError):
        medseg.train(folder, run, options=OPTIONS, plan=TOY_PLAN)
    assert not run.exists()
    write(folder, "c1", toy_case(1)[0], None)
    assert medseg.train(folder, run, options=OPTIONS, plan=TOY_PLAN)


def test_a_loss_that_fails_at_once_leaves_no_run(folder, tmp_path):
    def hopeless(logits, labels):
        return logits.mean() * float("nan")

    with pytest.raises(
        MedsegError, match=r"at step 1, .*; start another run with a --learning-rate"
    ):
        medseg.train(folder, tmp_path / "run", options=OPTIONS, plan=TOY_PLAN, loss=hopeless)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_trains_longer_when_asked(stopped):
    model = medseg.train(None, stopped, resume=True)
    weights = (model / "weights.safetensors").read_bytes()
    assert medseg.train(None, stopped, resume=True) == model
    assert (model / "weights.safetensors").read_bytes() == weights
    options = structs.replace(OPTIONS, steps=6, seed=5, loss="tversky")
    with pytest.raises(InputError, match=r"seed 0; leave out --loss tversky, --seed 5.*finished"):
        medseg.train(None, stopped, options=options, resume=True)
    with pytest.raises(InputError, match="has 3 steps in all"):
        medseg.train(None, stopped, options=structs.replace(OPTIONS, steps=2), resume=True)
    medseg.train(None, stopped, options=structs.replace(OPTIONS, steps=5), resume=True)
    assert [row["step"] for row in read_history(stopped)] == [1, 2, 3, 4, 5]
    assert (model / "weights.safetensors").read_bytes() != weights
    assert stored_options(stopped).steps == 5


def test_minutes_make_a_finished_run_longer_by_its_own_speed(stopped):
    medseg.train(None, stopped, resume=True)
    state = read_state(stopped / "checkpoint.safetensors")
    minutes = 2 * state.seconds / 60
    options = structs.replace(OPTIONS, minutes=minutes)
    medseg.train(None, stopped, options=options, resume=True)
    assert read_state(stopped / "checkpoint.safetensors").total_steps == pytest.approx(6, abs=1)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"network": "fcn"}, "network unet, and network fcn"),
        ({"loss": "tversky"}, "loss dice_ce, and loss tversky"),
        ({"plane": "axial"}, r"plane \(none\), and plane axial"),
        ({"settings": {"features": [4]}}, "and settings"),
    ],
)
def test_what_a_plan_says_otherwise_is_refused(folder, tmp_path, asked, words):
    options = structs.replace(OPTIONS, **asked)
    with pytest.raises(PlanError, match=words):
        medseg.train(folder, tmp_path / "run", options=options, plan=TOY_PLAN)
    assert not (tmp_path / "run").exists()


def test_the_options_of_a_run_say_what_its_plan_trains(folder, tmp_path):
    plan = structs.replace(TOY_PLAN, loss=Component(name="dice_focal"))
    medseg.train(folder, tmp_path / "run", options=OPTIONS, plan=plan)
    options = stored_options(tmp_path / "run")
    assert (options.network, options.loss) == ("unet", "dice_focal")
    assert options.settings == TOY_PLAN.network.settings


@pytest.mark.parametrize("planned", [True, False])
def test_a_plan_that_was_edited_in_its_run_is_named(folder, tmp_path, planned):
    run = tmp_path / "run"
    with suppress(Cancelled):
        plan = None if planned else TOY_PLAN
        medseg.train(folder, run, options=OPTIONS, plan=plan, progress=stop)
    plan = decode_plan((run / "plan.json").read_bytes(), where="plan")
    (run / "plan.json").write_bytes(
        encode(structs.replace(plan, crop="none", normalisation=(Normalisation(scheme="rescale"),)))
    )
    with pytest.raises(PlanError, match=r"normalisation was .*zscore") as refused:
        medseg.train(None, run, resume=True)
    assert ("crop was padding" in str(refused.value)) is planned
    (run / "plan.json").write_bytes(encode(plan))
    assert medseg.train(None, run, resume=True).is_dir()


def test_a_run_from_before_plans_were_kept_takes_the_one_it_has(stopped):
    content = json.loads((stopped / "identity.json").read_text())
    del content["plan"]
    (stopped / "identity.json").write_text(json.dumps(content))
    assert medseg.train(None, stopped, resume=True).is_dir()
    kept = json.dumps(read_identity(stopped).plan).encode()
    assert decode_plan(kept, where="kept") == TOY_PLAN


@pytest.mark.parametrize("word", ["XYZ", "RLS", "RA", "RASS", "ras"])
def test_an_orientation_that_is_none_is_named(word):
    content = json.loads(encode(TOY_PLAN)) | {"orientation": word}
    with pytest.raises(PlanError, match=f"the orientation is '{word}'; .*such as RAS"):
        decode_plan(json.dumps(content).encode(), where="plan.json")


def test_a_seed_below_zero_is_refused():
    with pytest.raises(InputError, match="seed must not be negative, got -1"):
        TrainingOptions(seed=-1)


@pytest.mark.parametrize("name", ["learning_rate", "minutes"])
def test_no_number_is_no_option(name):
    with pytest.raises(InputError, match="must be positive, got nan"):
        TrainingOptions(**{name: float("nan")})


def test_a_run_has_one_length(folder, tmp_path):
    options = structs.replace(OPTIONS, epochs=2)
    with pytest.raises(InputError, match="--steps 3 and --epochs 2 each say how long"):
        medseg.train(folder, tmp_path / "run", options=options, plan=TOY_PLAN)
    assert not (tmp_path / "run").exists()


def test_options_in_place_of_the_plan_reach_the_model(folder, tmp_path):
    options = structs.replace(
        OPTIONS, steps=None, epochs=2, batch=3, class_weights={"core": 4.0}, oversample=0.25
    )
    run = tmp_path / "run"
    model = medseg.train(folder, run, options=options, plan=TOY_PLAN)
    provenance = json.loads((model / "manifest.json").read_text())["provenance"]
    assert provenance["steps"] == "2"  # 3 cases in patches of 3: one step an epoch
    assert (provenance["batch"], provenance["patches on a label"]) == ("3", "0.25")
    assert provenance["class weights"] == "1, 1, 4"


def test_a_resumed_run_takes_a_lower_learning_rate_only(stopped):
    with pytest.raises(InputError, match="--learning-rate"):
        medseg.train(
            None, stopped, options=structs.replace(OPTIONS, learning_rate=1e-2), resume=True
        )
    lower = structs.replace(OPTIONS, learning_rate=1e-4)
    model = medseg.train(None, stopped, options=lower, resume=True)
    provenance = json.loads((model / "manifest.json").read_text())["provenance"]
    assert provenance["learning rate"] == "0.001, 0.0001 from step 2 on"


def test_a_training_without_progress_ends_early_and_packs_its_best(folder, tmp_path):
    options = structs.replace(OPTIONS, steps=30, validations=30, early_stop=2, learning_rate=1e-9)
    run = tmp_path / "run"
    model = medseg.train(folder, run, options=options, plan=TOY_PLAN)
    state = read_state(run / "checkpoint.safetensors")
    assert state.ended
    assert state.step == state.best_step + 2 < 30
    assert (run / "checkpoint_best.safetensors").is_file()
    provenance = json.loads((model / "manifest.json").read_text())["provenance"]
    assert provenance["checkpoint"] == f"best, of step {state.best_step}"
    assert medseg.train(None, run, resume=True) == model
