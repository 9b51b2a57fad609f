"""Runs of several folds compared out of fold, and the average of a model's weights tried."""

import json

import pytest
import torch
from msgspec import structs

from medseg.errors import InputError
from medseg.inference import Predictor
from medseg.model_package import Manifest, find_package, save_package
from medseg.model_package.manifest import FoldScores
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.networks.adapters.ensemble import Ensemble
from medseg.training import TrainingOptions, open_dataset, train_folds
from medseg.training.ensemble import (
    averaged_network,
    compare_runs,
    save_average,
    try_average,
)
from medseg.training.recipe import Recipe
from medseg.volume import LabelTable
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


def write_run(folder, dice, cases=("a", "b"), labels=("box",)):
    """A run with scores out of fold, and a model."""
    folds = tuple(FoldScores(number=n, cases=1) for n in range(2))
    table = LabelTable.of(dict(enumerate(labels, start=1)))
    manifest = Manifest(name="toy", plan=TOY_PLAN, labels=table, folds=folds, weights=UNSAVED)
    networks = {f"fold_{n}": build_network(TOY_PLAN, classes=1 + len(labels)) for n in range(2)}
    save_package(folder / "model", manifest, Ensemble(networks))
    (folder / "out_of_fold").mkdir()
    rows = [{"case": case, "labels": {name: {"dice": dice} for name in labels}} for case in cases]
    means = {name: {"dice": dice} for name in labels}
    summary = {"cases": rows, "mean": means, "mean_over_labels": {"dice": dice}}
    (folder / "out_of_fold" / "scores.json").write_text(json.dumps(summary))
    return folder


def test_the_best_run_comes_first(tmp_path):
    runs = [write_run(tmp_path / name, dice) for name, dice in (("a", 0.7), ("b", 0.9), ("c", 0.8))]
    assert [scores.run.name for scores in compare_runs(runs)] == ["b", "c", "a"]
    assert compare_runs(runs)[0].dice == {"box": 0.9, "mean_over_labels": 0.9}


def test_runs_over_other_cases_or_labels_are_refused(tmp_path):
    first = write_run(tmp_path / "a", 0.7)
    others = write_run(tmp_path / "b", 0.7, cases=("a", "c"))
    with pytest.raises(InputError, match="only one of them predicted cases b, c"):
        compare_runs([first, others])
    labels = write_run(tmp_path / "c", 0.7, labels=("lid",))
    with pytest.raises(InputError, match=r"they score box, .* and lid,"):
        compare_runs([first, labels])
    with pytest.raises(InputError, match="has no scores out of fold"):
        compare_runs([first, tmp_path / "none"])


def test_the_average_is_the_mean_of_the_weights(tmp_path):
    package = find_package(write_run(tmp_path / "a", 0.7))
    one, other = (package.of_fold(n).load_network().state_dict() for n in range(2))
    for name, value in averaged_network(package).state_dict().items():
        torch.testing.assert_close(value, (one[name] + other[name]) / 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    dataset = open_dataset(write_toy(root / "toy"))
    options = TrainingOptions(
        steps=60, validations=1, device="cpu", recipe=Recipe(optimizer="adamw", learning_rate=1e-2)
    )
    train_folds(dataset, root / "run", folds=[0, 1], options=options, plan=TOY_PLAN)
    return root / "run"


@pytest.mark.slow
def test_weights_that_point_elsewhere_do_not_average(trained, tmp_path):
    """Of a network and one of opposite weights the mean is a network of zeros."""
    run = tmp_path / "run"
    package = find_package(trained)
    network = package.of_fold(0).load_network()
    other = package.of_fold(0).load_network()
    with torch.no_grad():
        for weight in other.parameters():
            if weight.dim() > 1:
                weight.neg_()
    save_package(run / "model", package.manifest, Ensemble({"fold_0": network, "fold_1": other}))
    for name in ("dataset.json", "identity.json", "options.json"):
        (run / name).write_bytes((trained / name).read_bytes())
    trial = try_average(run, device="cpu")
    assert trial.averaged < trial.ensemble - 0.05
    assert not trial.passed


def test_equal_networks_average_and_the_model_says_what_it_is(trained, tmp_path):
    run = tmp_path / "run"
    package = find_package(trained)
    network = package.of_fold(0).load_network()
    save_package(run / "model", package.manifest, Ensemble({"fold_0": network, "fold_1": network}))
    for name in ("dataset.json", "identity.json", "options.json"):
        (run / name).write_bytes((trained / name).read_bytes())
    trial = try_average(run, device="cpu")
    assert trial.cases == 6
    assert trial.averaged == pytest.approx(trial.ensemble, abs=1e-3)
    assert trial.passed
    saved = save_average(tmp_path / "one", run, trial)
    assert saved.folds == ()
    assert saved.manifest.scores == {}
    assert (
        "which all but one of the folds were trained on"
        in (saved.manifest.provenance["averaged against ensemble"])
    )
    assert "weights are the mean of theirs" in saved.manifest.card.summary
    Predictor.load(saved, device="cpu")


def test_one_network_is_not_averaged(tmp_path):
    run = write_run(tmp_path / "a", 0.7)
    manifest = structs.replace(find_package(run).manifest, folds=())
    save_package(run / "model", manifest, build_network(TOY_PLAN, classes=2))
    with pytest.raises(InputError, match="is one network"):
        try_average(run, device="cpu")
