"""What a preset stands for, who goes before it, and that a run keeps to what it began with."""

import json

import pytest
import torch
from msgspec import structs

import medseg
from medseg.errors import Cancelled, InputError
from medseg.model_package import ModelPackage
from medseg.networks import build_network
from medseg.planning import augmentation_preset, read_plan
from medseg.training import TrainingOptions, train
from medseg.training import recipe as recipes
from medseg.training.divergence import divergence_error
from medseg.training.history import read_history
from medseg.training.optimizer import build_optimizer
from medseg.training.recipe import TABLE, Recipe, Row, recipe_for
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(steps=4, validations=0, fold=None, device="cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return medseg.training.open_dataset(write_toy(tmp_path_factory.mktemp("data") / "toy", cases=2))


def test_a_row_holds_from_its_length_on_and_for_its_device(monkeypatch):
    short, long, card = (Recipe(learning_rate=rate) for rate in (1e-3, 2e-3, 3e-3))
    rows = (
        Row(preset="best", recipe=short),
        Row(preset="best", recipe=long, from_minutes=10, from_steps=500),
        Row(preset="best", recipe=card, device="cuda", from_minutes=60, from_steps=9000),
    )
    monkeypatch.setattr(recipes, "TABLE", rows)
    assert recipe_for("best", minutes=9) == recipe_for("best", steps=499) == short
    assert recipe_for("best", minutes=10) == recipe_for("best") == long
    assert recipe_for("best", minutes=60, device="cpu") == long
    assert recipe_for("best", steps=9000, device="cuda") == card
    with pytest.raises(InputError, match="no preset 'finest'; there are: best"):
        recipe_for("finest")


def test_each_preset_has_a_row_for_any_training():
    assert {row.preset for row in TABLE} == {"quick", "standard", "best"}
    for preset in ("quick", "standard", "best"):
        first = next(row for row in TABLE if row.preset == preset)
        assert (first.device, first.from_minutes, first.from_steps) == (None, 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": 0}, {"ema_decay": 1.5}, {"warm_up_steps": 0}, {"foreground_share": -1.0}],
)
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_what_is_named_goes_before_the_recipe():
    recipe = Recipe(learning_rate=0.5, fine_tuning_rate=0.25, foreground_share=0.75)
    options = TrainingOptions(recipe=recipe)
    assert (options.peak_rate, options.foreground_share) == (0.5, 0.75)
    assert structs.replace(options, start="model").peak_rate == 0.25
    named = structs.replace(options, learning_rate=0.125, oversample=0.3)
    assert (named.peak_rate, named.foreground_share) == (0.125, 0.3)


def test_a_new_plan_has_the_recipes_augmentation_and_supervision(dataset, tmp_path):
    recipe = Recipe(augmentation="light", deep_supervision=False)
    options = structs.replace(OPTIONS, steps=1, recipe=recipe, batch=1)
    train(dataset, tmp_path / "run", options=options)
    plan = read_plan(tmp_path / "run" / "plan.json")
    assert plan.augmentation == augmentation_preset("light")
    assert plan.network.settings["deep_supervision"] is False
    said = ModelPackage.open(tmp_path / "run" / "model").manifest.provenance["recipe"]
    assert said == "standard: muon, learning rate 0.02, poly fall, no deep supervision"


def test_a_resumed_run_keeps_the_recipe_it_began_with(dataset, tmp_path, monkeypatch):
    def stop(done, total, message):
        if message.startswith("training") and done == 2:
            raise Cancelled("enough")

    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(dataset, run, options=OPTIONS, plan=TOY_PLAN, progress=stop)
    monkeypatch.setattr(recipes, "TABLE", (Row(preset="standard", recipe=Recipe(optimizer="sgd")),))
    train(None, run, resume=True)
    assert json.loads((run / "options.json").read_text())["recipe"]["optimizer"] == "muon"
    assert max(row["lr"] for row in read_history(run)) <= Recipe().learning_rate
    with pytest.raises(InputError, match="began with preset standard; leave out --preset best"):
        train(None, run, resume=True, options=structs.replace(OPTIONS, preset="best"))


def test_sgd_takes_nesterovs_step():
    """Two steps on a constant gradient g: w - r g (1 + m), then with velocity g (1 + m)."""
    weight = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(weight.weight)
    rate, momentum = 0.1, 0.9
    recipe = Recipe(optimizer="sgd", learning_rate=rate, momentum=momentum, weight_decay=0.0)
    optimizer = build_optimizer(weight, recipe, fused=False)
    expected, velocity = 0.0, 0.0
    for _ in range(2):
        weight.weight.grad = torch.ones(1, 1)
        optimizer.step()
        velocity = momentum * velocity + 1
        expected -= rate * (1 + momentum * velocity)
        assert weight.weight.item() == pytest.approx(expected)


def test_weights_decay_in_each_optimiser():
    for name in ("adamw", "muon", "sgd"):
        network = build_network(TOY_PLAN, classes=3)
        before = sum(weight.square().sum() for weight in network.parameters()).item()
        recipe = Recipe(optimizer=name, learning_rate=0.1, weight_decay=0.5)
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        build_optimizer(network, recipe, fused=False).step()
        after = sum(weight.square().sum() for weight in network.parameters()).item()
        assert after < before


@pytest.mark.parametrize(
    ("peak", "advised"), [(1e6, 0.002), (0.004, 0.001), (0.002, 0.0005), (0.001, 0.00025)]
)
def test_after_a_loss_that_is_no_number_no_more_than_the_usual_rate_is_advised(peak, advised):
    error = divergence_error(
        "became nan", loss="dice", step=3, rate=peak, peak=peak, standard=0.002, kept=None
    )
    assert f"below {peak:g}, such as {advised:g}, or" in str(error)
