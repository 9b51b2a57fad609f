"""Which checkpoint becomes the model, when a run ends early, and when validating is slow."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from click import ClickException
from safetensors.torch import load_file

from medseg.errors import Cancelled
from medseg.model_package import find_package
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.held_out_scores import measure_held_out
from medseg.training.state import read_state
from medseg.training.validation import CASES_ON_THE_WAY, Validation
from medseg.volume.label_table import MEAN
from medseg_pipelines.cli import medseg
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Eleven cases, nine of them held out: more than are looked at on the way."""
    root = write_toy(tmp_path_factory.mktemp("data") / "toy", cases=11)
    names = [f"c{number}" for number in range(11)]
    (root / "folds.json").write_text(json.dumps([{"train": names[:2], "val": names[2:]}]))
    return open_dataset(root, splits=root / "folds.json")


@pytest.fixture
def worse_and_worse(monkeypatch):
    """Scores on the way: 0.9 at first, then ever less."""
    scores = iter(0.9 - 0.01 * number for number in range(90))
    monkeypatch.setattr(Validation, "on_the_way", lambda self: {MEAN: next(scores)})


@pytest.mark.usefixtures("worse_and_worse")
def test_the_best_of_many_held_out_cases_is_packed_and_measured_on_all(
    dataset, tmp_path, monkeypatch
):
    measured = []

    def count(run, predictor, cases, dataset, **words):
        measured.append(len(cases))
        return measure_held_out(run, predictor, cases, dataset, **words)

    monkeypatch.setattr("medseg.training.run.measure_held_out", count)
    options = TrainingOptions(
        steps=6, validations=3, checkpoint="best", device="cpu", learning_rate=1e-2
    )
    run = tmp_path / "run"
    package = find_package(train(dataset, run, options=options, plan=TOY_PLAN))
    assert measured == [9]
    assert measured[0] > CASES_ON_THE_WAY
    assert package.manifest.scores[MEAN] < 0.9
    assert package.manifest.provenance["checkpoint"] == "best, of step 2"
    kept = {which: load_file(run / f"checkpoint{which}.safetensors") for which in ("", "_best")}
    packed = load_file(package.folder / "weights.safetensors")
    differ = 0
    for name, value in packed.items():
        best, last = (kept[which][f"network.{name}"] for which in ("_best", ""))
        torch.testing.assert_close(value.float(), best.float(), rtol=1e-3, atol=1e-4)
        differ += not torch.allclose(best, last, rtol=1e-3, atol=1e-4)
    assert differ


@pytest.mark.usefixtures("worse_and_worse")
def test_a_resumed_run_counts_on_to_its_early_stop(dataset, tmp_path):
    run = tmp_path / "run"
    options = TrainingOptions(steps=30, validations=30, early_stop=3, device="cpu")

    def stop(done, total, message):
        if message.startswith("training") and done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        train(dataset, run, options=options, plan=TOY_PLAN, progress=stop)
    stopped = read_state(run / "checkpoint.safetensors")
    assert (stopped.step, stopped.best_step, stopped.stale, stopped.ended) == (3, 1, 2, False)
    train(None, run, resume=True)
    ended = read_state(run / "checkpoint.safetensors")
    assert (ended.step, ended.best_step, ended.stale, ended.ended) == (4, 1, 3, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds_a_case", "seconds_at_end", "validations"),
    [(0.01, 0, 10), (0.3, 0, 10), (1.5, 0, 10), (0.3, 2.5, 10), (0.3, 2.5, 0)],
)
def test_minutes_hold_where_validating_is_slow(
    dataset, tmp_path, monkeypatch, seconds_a_case, seconds_at_end, validations
):
    """Half a second a step on a clock of our own; a minute in all, the last measuring included."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("medseg.training.clock.time", clock)
    looks = []

    def measure(_, cases, **__):
        clock.now += seconds_a_case * len(cases)
        looks.append(len(cases))
        return {MEAN: 0.5}

    def tick(done, total, message):
        clock.now += 0.5 * message.startswith("training")

    def rehearse(*_):
        clock.now += seconds_at_end

    def measure_last(_, predictor, cases, dataset, **__):
        clock.now += seconds_at_end * len(cases)
        return {"cases": [], "mean": {}, MEAN: {"dice": measure(predictor, cases)[MEAN]}}

    monkeypatch.setattr("medseg.training.run.mean_dice", measure)
    monkeypatch.setattr("medseg.training.run.measure_held_out", measure_last)
    monkeypatch.setattr("medseg.training.run.rehearse", rehearse)
    options = TrainingOptions(minutes=1, validations=validations, device="cpu")
    train(dataset, tmp_path / "run", options=options, plan=TOY_PLAN, progress=tick)
    assert 45 < clock.now <= 60
    on_the_way = looks[1:-1]
    assert (looks[0], looks[-1]) == (1, 9)
    assert set(on_the_way) == ({CASES_ON_THE_WAY} if validations else set())
    assert (len(on_the_way) == validations) == (seconds_a_case < 0.1 or not validations)


def test_labels_that_nobody_drew_are_refused_and_leave_no_run(tmp_path):
    root, run = write_toy(tmp_path / "data", cases=3), tmp_path / "run"
    for path in (root / "labels").iterdir():
        nib.save(nib.Nifti1Image(np.zeros((20, 20, 20), np.uint8), nib.load(path).affine), path)
    words = f"train {root} --output {run} --steps 1 --device cpu"
    with pytest.raises(ClickException, match="holds a label, so there is nothing to learn") as told:
        medseg(words.split(), standalone_mode=False)
    assert told.value.exit_code == 2
    assert not run.exists()
