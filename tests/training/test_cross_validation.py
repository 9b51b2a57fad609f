"""Several folds of a dataset: one plan, one preparation, every case predicted out of fold."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.errors import Cancelled, InputError, MedsegError
from medseg.inference import Predictor
from medseg.model_package import find_package
from medseg.planning import Component
from medseg.reading import read_labels
from medseg.training import Dataset, TrainingOptions, open_dataset, train, train_folds
from medseg.training.postprocessing_search import PostprocessingChoice
from medseg.training.recipe import Recipe
from medseg.training.run_status import run_status
from medseg.training.splits import Fold
from medseg.training.state import read_state
from medseg.training.validation import mean_dice
from medseg.volume import Grid, LabelMap, LabelTable
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(
    steps=60, validations=1, device="cpu", recipe=Recipe(optimizer="adamw", learning_rate=1e-2)
)
SHORT = TrainingOptions(
    steps=4, validations=1, device="cpu", recipe=Recipe(optimizer="adamw", learning_rate=1e-2)
)

ONE_LABEL = LabelTable.of({1: "a"})


def in_folds(dataset, *held_out):
    names = frozenset(case.name for case in dataset.cases)
    return replace(dataset, folds=tuple(Fold(names - set(h), frozenset(h)) for h in held_out))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    opened = open_dataset(write_toy(tmp_path_factory.mktemp("data") / "toy"))
    return in_folds(opened, ("c0", "c1"), ("c2", "c3"), ("c4", "c5"))


@pytest.fixture(scope="module")
def read_counts():
    return Counter()


@pytest.fixture(scope="module")
def finished(dataset, read_counts, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "folds"
    whole = Dataset.read_truth

    def counting(self, path, scan):
        read_counts[path.name.removesuffix(".nii.gz")] += 1
        return whole(self, path, scan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dataset, "read_truth", counting)
        train_folds(dataset, run, options=OPTIONS, plan=TOY_PLAN)
    return run


def weights_of(run: Path) -> list[str]:
    return [fold.sha256 for fold in find_package(run).manifest.folds]


def test_each_case_is_read_for_the_look_for_training_and_for_measuring_only(
    finished, dataset, read_counts
):
    assert read_counts == {case.name: 3 for case in dataset.cases}
    assert not list(finished.glob("fold_*/cache"))
    assert len(list((finished / "cache").glob("*.image.npy"))) == len(dataset.cases)


def test_every_case_is_predicted_by_the_network_that_did_not_see_it(finished, dataset):
    package = find_package(finished)
    for number in range(3):
        alone = Predictor.load(finished / f"fold_{number}", device="cpu")
        within = Predictor.load(package.of_fold(number), device="cpu")
        for case in dataset.fold(number)[1]:
            scan, _ = dataset.read(case)
            written = read_labels(finished / "out_of_fold" / f"{case.name}.nii.gz")
            assert written.grid.same_as(scan.grid)
            for model in (alone, within):
                assert np.array_equal(written.values, model.predict(scan).values)


def test_scores_are_those_of_the_label_maps(finished, dataset):
    scores = json.loads((finished / "out_of_fold" / "scores.json").read_text())
    assert [row["case"] for row in scores["cases"]] == [case.name for case in dataset.cases]
    for row in scores["cases"]:
        found = np.asarray(nib.load(finished / "out_of_fold" / f"{row['case']}.nii.gz").dataobj)
        case = next(case for case in dataset.cases if case.name == row["case"])
        truth = np.asarray(nib.load(case.label).dataobj)
        for value, name in ((1, "box"), (2, "core")):
            one, other = found == value, truth == value
            dice = 2 * (one & other).sum() / (one.sum() + other.sum())
            assert row["labels"][name]["dice"] == pytest.approx(dice)
            assert row["labels"][name]["nsd"] is not None
    assert scores["mean_over_labels"]["dice"] > 0.3
    assert [fold["cases"] for fold in scores["folds"]] == [["c0", "c1"], ["c2", "c3"], ["c4", "c5"]]


def test_the_model_has_all_folds_and_their_scores(finished):
    manifest = find_package(finished).manifest
    assert [(fold.number, fold.cases) for fold in manifest.folds] == [(0, 2), (1, 2), (2, 2)]
    for name in ("box", "core", "mean_over_labels"):
        values = [fold.scores[name] for fold in manifest.folds]
        assert manifest.scores[name] == pytest.approx(sum(values) / 3, abs=1e-5)
    assert manifest.provenance["fold"] == "0, 1, 2"
    assert manifest.provenance["steps"] == "60"
    assert len(Predictor.load(finished, device="cpu").network) == 3


def test_a_finished_run_is_left_alone_and_trained_longer_when_asked(finished, dataset, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = weights_of(run)
    told = []
    folder = train_folds(None, run, resume=True, progress=lambda *_: told.append(_))
    assert folder == run / "model"
    assert not told
    longer = TrainingOptions(steps=62, device="cpu")
    train_folds(dataset, run, resume=True, options=longer)
    assert [read_state(run / f"fold_{n}" / "checkpoint.safetensors").step for n in range(3)] == (
        [62] * 3
    )
    assert not set(weights_of(run)) & set(before)


def stop_in(fold, step):
    def progress(done, total, message):
        if message.startswith(f"fold {fold}: training") and done == step:
            raise Cancelled("enough")

    return progress


@pytest.mark.slow
@pytest.mark.parametrize("stop", [(0, 2), (1, 3), (2, 4)])
def test_a_run_that_was_stopped_anywhere_ends_the_same(dataset, tmp_path, stop):
    run, other = tmp_path / "run", tmp_path / "other"
    with pytest.raises(Cancelled):
        train_folds(dataset, run, options=SHORT, plan=TOY_PLAN, progress=stop_in(*stop))
    assert not (run / "model").exists()
    train_folds(dataset, run, resume=True)
    train_folds(dataset, other, options=SHORT, plan=TOY_PLAN)
    assert weights_of(run) == weights_of(other)
    assert find_package(run).manifest.folds == find_package(other).manifest.folds


def test_folders_of_folds_that_were_half_made_are_made_anew(dataset, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train_folds(dataset, run, options=SHORT, plan=TOY_PLAN, progress=stop_in(0, 1))
    (run / "fold_2" / "options.json").unlink()
    shutil.rmtree(run / "fold_1")
    train_folds(dataset, run, resume=True)
    assert len(weights_of(run)) == 3


@pytest.mark.slow
def test_two_devices_train_two_folds_at_once(dataset, tmp_path):
    run = tmp_path / "run"
    told = set()
    train_folds(
        dataset,
        run,
        folds=[0, 2],
        options=SHORT,
        plan=TOY_PLAN,
        devices=("cpu", "cpu"),
        progress=lambda done, total, message: told.add(message),
    )
    assert "training, folds 0, 2 at once" in told
    alone = tmp_path / "alone"
    train_folds(dataset, alone, folds=[0, 2], options=SHORT, plan=TOY_PLAN)
    assert weights_of(run) == weights_of(alone)
    assert [fold.number for fold in find_package(run).manifest.folds] == [0, 2]


@pytest.mark.slow
def test_a_fold_that_fails_in_its_process_is_named_and_nothing_is_lost(dataset, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train_folds(dataset, run, options=SHORT, plan=TOY_PLAN, progress=stop_in(1, 3))
    kept = (run / "fold_1" / "checkpoint.safetensors").read_bytes()
    (run / "fold_1" / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.raises(MedsegError, match=r"fold 1 failed: checkpoint .* cannot be resumed"):
        train_folds(dataset, run, resume=True, devices=("cpu",))
    (run / "fold_1" / "checkpoint.safetensors").write_bytes(kept)
    train_folds(dataset, run, resume=True)
    assert len(weights_of(run)) == 3


def test_a_network_of_python_starts_each_fold_as_it_was_given(dataset, tmp_path):
    class Own(torch.nn.Conv3d):
        pass

    given = Own(1, 3, 3, padding=1)
    before = given.weight.detach().clone()
    run = tmp_path / "run"
    with pytest.raises(InputError, match="each fold has a process, to which the network"):
        train_folds(dataset, run, options=SHORT, devices=("cpu",), network=given)
    folder = train_folds(dataset, run, folds=[0, 1], options=SHORT, network=given)
    assert torch.equal(given.weight, before)
    scan, _ = dataset.read(dataset.cases[0])
    assert Predictor.load(folder, device="cpu", network=Own(1, 3, 3, padding=1)).predict(scan)


def test_postprocessing_is_chosen_by_the_predictions_of_all_folds(dataset, tmp_path, monkeypatch):
    asked = {}

    def choose(of_case, cases, **_):
        asked.update({case.name: of_case(case) for case in cases})
        return PostprocessingChoice(postprocessing=(Component(name="components"),))

    monkeypatch.setattr("medseg.training.cross_validation.choose_postprocessing", choose)
    run = tmp_path / "run"
    options = TrainingOptions(steps=2, validations=1, device="cpu", postprocess=True)
    train_folds(dataset, run, options=options, plan=TOY_PLAN)
    assert list(asked) == [case.name for case in dataset.cases]
    assert len({id(predictor) for predictor in asked.values()}) == 3
    assert find_package(run).manifest.postprocessing == (Component(name="components"),)
    assert find_package(run / "fold_0").manifest.postprocessing == ()


class Says:
    """A predictor that gives every voxel one value."""

    def __init__(self, value):
        self.value = value

    def predict_prepared(self, image_CIJK, grid, box):
        return LabelMap(np.full(grid.shape, self.value, np.uint8), grid, ONE_LABEL)


def test_held_out_cases_are_scored_by_their_own_predictor():
    grid = Grid((2, 2, 2), np.eye(4))
    truth = LabelMap(np.ones(grid.shape, np.uint8), grid, ONE_LABEL)
    cases = [SimpleNamespace(name=n, truth=truth, image_CIJK=None, box=None) for n in "ab"]
    of_case = {"a": Says(1), "b": Says(0)}
    assert mean_dice(lambda case: of_case[case.name], cases)["a"] == 0.5


@pytest.mark.parametrize(
    ("folds", "held_out", "words"),
    [
        ([0, 3], [("c0",), ("c1",)], r"fold 3 does not exist: 'toy' has 2.*6 cases of 6 patients"),
        ([1], [("c0",), ("c1",)], r"'\[1\]' of 'toy' is 1.*--fold"),
        ("all", [("c0",)], "'all' of 'toy' is 1"),
        ("all", [("c0",), ()], "fold 1 holds out no case"),
        ("all", [("c0", "c1"), ("c1", "c2")], "folds 0 and 1 both hold out 'c1'"),
        ("all", [("c0",), tuple(f"c{n}" for n in range(6))], "fold 1 leaves no case to train on"),
    ],
)
def test_folds_that_cannot_be_are_refused_before_anything_is_made(
    dataset, tmp_path, folds, held_out, words
):
    run = tmp_path / "run"
    with pytest.raises(InputError, match=words):
        train_folds(in_folds(dataset, *held_out), run, folds=folds, options=SHORT)
    assert not run.exists()


def test_a_label_that_a_fold_does_not_train_on_is_named_before_anything_trains(tmp_path):
    folder = write_toy(tmp_path / "toy")
    for number in range(2, 6):
        path = folder / "labels" / f"c{number}.nii.gz"
        image = nib.load(path)
        values = np.minimum(np.asarray(image.dataobj), 1)
        nib.save(nib.Nifti1Image(values, image.affine), path)
    rare = in_folds(open_dataset(folder), ("c2", "c3"), ("c0", "c1"))

    def never(done, total, message):
        assert "training" not in message
        if "preparing" in message:
            raise Cancelled("far enough")

    words = "'core' is in no case that fold 1 trains on, only in c0"
    with pytest.warns(UserWarning, match=words), pytest.raises(Cancelled):
        train_folds(rare, tmp_path / "run", options=SHORT, progress=never)


def test_runs_of_one_fold_and_of_several_are_not_taken_for_one_another(dataset, tmp_path, finished):
    single = tmp_path / "single"
    train(dataset, single, options=SHORT, plan=TOY_PLAN)
    with pytest.raises(InputError, match="is of fold 0 alone"):
        train_folds(dataset, single, resume=True)
    with pytest.raises(InputError, match="exists and is not empty"):
        train_folds(dataset, single, options=SHORT)
    with pytest.raises(InputError, match="holds the runs of several folds"):
        train(dataset, finished, resume=True)
    with pytest.raises(InputError, match="is of the folds 0, 1, 2"):
        train_folds(dataset, finished, folds=[0, 1], resume=True)
    with pytest.raises(InputError, match="holds no run of several folds"):
        train_folds(dataset, tmp_path / "none", resume=True)
    assert run_status(finished).phase == "finished"
