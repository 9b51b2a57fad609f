"""What a trained model says of itself."""

from __future__ import annotations

from pathlib import Path

import torch
from msgspec import structs
from torch import nn

from medseg._version import __version__
from medseg.model_package import Card, Manifest
from medseg.model_package.package import UNSAVED
from medseg.planning import Plan
from medseg.training.checkpoint import load_network
from medseg.training.dataset import Dataset
from medseg.training.history import read_history
from medseg.training.options import TrainingOptions
from medseg.training.postprocessing_search import PostprocessingChoice
from medseg.training.run_status import BEST
from medseg.training.state import State
from medseg.training.validation import CASES_ON_THE_WAY
from medseg.volume.label_table import MEAN


def postprocessed(manifest: Manifest, choice: PostprocessingChoice) -> Manifest:
    """The manifest with the steps that were chosen, and what they did."""
    facts = {
        "postprocessing": ", ".join(step.name for step in choice.postprocessing) or "no step helped"
    }
    if choice.dice_without is not None and choice.dice_with is not None:
        facts["postprocessing on other cases"] = (
            f"Dice {choice.dice_without:.4f} without, {choice.dice_with:.4f} with"
        )
    return structs.replace(
        manifest, postprocessing=choice.postprocessing, provenance={**manifest.provenance, **facts}
    )


def manifest_of(
    dataset: Dataset,
    plan: Plan,
    options: TrainingOptions,
    scores: dict[str, float],
    facts: dict[str, str],
    cases: int,
) -> Manifest:
    """What the package says about itself.

    Parameters
    ----------
    dataset : Dataset
    plan : Plan
    options : TrainingOptions
    scores : dict of str to float
        Mean Dice by label on held-out cases.
    facts : dict of str to str
        Of the training, as :func:`training_facts` gives them.
    cases : int
        That were trained on.
    """
    name = options.name or dataset.name
    fold = "all cases" if options.fold is None else f"fold {options.fold}"
    return Manifest(
        name=name,
        plan=plan,
        labels=dataset.labels,
        card=Card(
            summary=f"Trained by medseg on {cases} cases of {dataset.name} ({fold}).",
            modality=dataset.modality,
        ),
        scores={label: round(dice, 5) for label, dice in scores.items()},
        provenance={
            "dataset": dataset.name,
            "cases": str(cases),
            "fold": fold,
            **facts,
            "medseg": __version__,
            "torch": str(torch.__version__),
        },
        weights=UNSAVED,
    )


def training_facts(options: TrainingOptions, plan: Plan, state: State) -> dict[str, str]:
    """What a manifest says of how the weights came about."""
    facts = {
        "steps": str(state.step),
        "batch": str(plan.batch),
        "learning rate": ", ".join(
            f"{rate:g} from step {step + 1} on" if step else f"{rate:g}"
            for step, rate in state.rates
        ),
        "recipe": f"{options.preset}: {options.recipe_on().sentence(options.peak_rate)}",
        "patches on a label": f"{options.foreground_share:g}",
        "seed": str(options.seed),
    }
    if options.class_weights is not None:
        weights = plan.loss.settings["class_weights"]
        facts["class weights"] = ", ".join(f"{weight:g}" for weight in weights)
    if options.early_stop is not None:
        facts["early stop"] = f"after {options.early_stop} validations without a better one"
    return facts


def choose_checkpoint(
    run: Path, network: nn.Module, options: TrainingOptions, state: State
) -> tuple[int, dict[str, str]]:
    """Put the checkpoint that is to be packed into `network`, which holds the last one.

    Parameters
    ----------
    run : Path
    network : torch.nn.Module
    options : TrainingOptions
    state : State
        At the end of the training.

    Returns
    -------
    step : int
        Of the checkpoint.
    facts : dict of str to str
        Which it is, and the two scores, for the manifest.
    """
    wants_best = options.packs_best and state.best_dice is not None
    step = state.best_step if wants_best else state.step
    if step != state.step:
        load_network(run / BEST, network)
    facts = {"checkpoint": f"{'best' if wants_best else 'last'}, of step {step}"}
    if state.best_dice is not None:
        last = dice_at(run, state.step).get(MEAN)
        score = "not measured" if last is None else f"{last:.4f}"
        facts["mean Dice on the way"] = (
            f"last (step {state.step}) {score}, best (step {state.best_step}) {state.best_dice:.4f}"
            f", of {CASES_ON_THE_WAY} held-out cases at most"
        )
    return step, facts


def dice_at(run: Path, step: int) -> dict[str, float]:
    """Scores that were measured on the way after a step; none where there was no validation."""
    rows = [row["dice"] for row in read_history(run) if row["step"] == step and "dice" in row]
    return rows[-1] if step and rows else {}
