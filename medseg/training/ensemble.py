"""Networks of several folds as one model, the best of several such runs, and their average."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec import structs
from torch import nn

from medseg.errors import InputError
from medseg.inference import Predictor
from medseg.model_package import Manifest, ModelPackage, find_package, round_as_stored, save_package
from medseg.model_package.manifest import FoldScores, fold_name
from medseg.model_package.package import UNSAVED
from medseg.networks.adapters.ensemble import Ensemble
from medseg.runtime.device import choose_device
from medseg.runtime.progress import Progress, silent
from medseg.training.dataset import Dataset
from medseg.training.findings import listed_cases
from medseg.training.held_out import HeldOutCase, prepare_held_out
from medseg.training.held_out_scores import SCORES
from medseg.training.out_of_fold import FOLDER, mean_over_folds
from medseg.training.resuming import reopen_dataset
from medseg.training.run_folder import cache_of
from medseg.training.validation import dice_of, mean_dice
from medseg.volume.label_table import MEAN

CASES_TRIED = 8
"""On which an average of weights is compared with the ensemble."""
MOST_LOST = 0.002
"""Of mean Dice by an average of weights that is still taken."""


def manifest_of_folds(
    models: Mapping[int, ModelPackage],
    by_fold: Mapping[int, dict[str, float]],
    held_out: Mapping[int, Sequence[HeldOutCase]],
    dataset: str,
) -> Manifest:
    """What a model of several folds says of itself.

    Parameters
    ----------
    models : mapping of int to ModelPackage
        Of each fold.
    by_fold : mapping of int to dict of str to float
        Mean Dice by label over the cases that each held out.
    held_out : mapping of int to sequence of HeldOutCase
    dataset : str
        Its name.
    """
    first = next(iter(models.values())).manifest
    listed = ", ".join(map(str, models))
    cases = sum(map(len, held_out.values()))
    summary = (
        f"Trained by medseg on {dataset} in {len(models)} folds ({listed}), which held out {cases}"
        " cases in all; predicts by their networks together."
    )
    facts = {number: model.manifest.provenance for number, model in models.items()}
    keys = dict.fromkeys(key for row in facts.values() for key in row)
    folds = tuple(
        FoldScores(
            number=number,
            cases=len(held_out[number]),
            scores=_rounded(by_fold[number]),
            sha256=model.manifest.weights.sha256,
        )
        for number, model in models.items()
    )
    return structs.replace(
        first,
        card=structs.replace(first.card, summary=summary),
        scores=_rounded(mean_over_folds(by_fold)),
        folds=folds,
        provenance={key: _of_folds(key, facts) for key in keys} | {"fold": listed},
    )


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {label: round(dice, 5) for label, dice in scores.items()}


def _of_folds(key: str, facts: Mapping[int, Mapping[str, str]]) -> str:
    """A fact of every fold: once where it is the same, else by fold."""
    values = {number: row[key] for number, row in facts.items() if key in row}
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"fold {number}: {value}" for number, value in values.items())


def save_folds(
    folder: Path, manifest: Manifest, predictors: Mapping[int, Predictor]
) -> ModelPackage:
    """Write the networks of several folds as one package; see `save_package`."""
    networks = {fold_name(number): model.network for number, model in predictors.items()}
    return save_package(folder, manifest, Ensemble(networks))


@dataclass(frozen=True)
class RunScores:
    """What a run of several folds scored out of fold.

    Parameters
    ----------
    run : Path
    network : str
        Its architecture.
    dice : dict of str to float
        Mean Dice over all cases by label, and over labels.
    cases : frozenset of str
    """

    run: Path
    network: str
    dice: dict[str, float]
    cases: frozenset[str]


def compare_runs(runs: Sequence[Path]) -> tuple[RunScores, ...]:
    """Runs of several folds by their mean Dice out of fold, the best one first.

    Parameters
    ----------
    runs : sequence of Path

    Raises
    ------
    InputError
        When one has no such scores, or scores of other cases or labels than the first.
    """
    scores = [_scores_of(run) for run in runs]
    first = scores[0]
    for other in scores[1:]:
        apart = first.cases ^ other.cases
        if apart:
            raise InputError(
                f"'{first.run}' and '{other.run}' cannot be compared: only one of them predicted"
                f" {listed_cases(apart)}; give runs over the same cases"
            )
        if set(first.dice) != set(other.dice):
            raise InputError(
                f"'{first.run}' and '{other.run}' cannot be compared: they score"
                f" {', '.join(first.dice)} and {', '.join(other.dice)}"
            )
    return tuple(sorted(scores, key=lambda run: run.dice[MEAN], reverse=True))


def _scores_of(run: Path) -> RunScores:
    file = run / FOLDER / SCORES
    if not file.is_file():
        raise InputError(
            f"'{run}' has no scores out of fold ('{FOLDER}/{SCORES}'); train it with --folds all to"
            " its end"
        )
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    dice = dice_of(summary)
    if MEAN not in dice:
        raise InputError(f"'{file}' holds no score of any label, so there is nothing to choose by")
    network = find_package(run).manifest.plan.network.name
    return RunScores(run, network, dice, frozenset(row["case"] for row in summary["cases"]))


@dataclass(frozen=True)
class AverageTrial:
    """One network with the mean of all folds' weights, against their ensemble.

    Parameters
    ----------
    network : torch.nn.Module
        The averaged one.
    ensemble, averaged : float
        Mean Dice of each on the same cases. All but one fold were trained on each of them, for
        both alike: an average that does worse here is of no use, and one that does as well may
        still do worse on new cases.
    cases : int
    """

    network: nn.Module
    ensemble: float
    averaged: float
    cases: int

    @property
    def passed(self) -> bool:
        """Whether the average loses next to nothing."""
        return self.averaged >= self.ensemble - MOST_LOST


def averaged_network(package: ModelPackage) -> nn.Module:
    """One network with the mean of all folds' weights (Wortsman et al., ICML 2022, "model soup").

    Networks that began apart have no reason to lie in one basin of the loss; those of folds that
    began with the same weights, as with ``--from``, may.
    """
    network, *others = package.load_network().children()
    states = [each.state_dict() for each in (network, *others)]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        for name, value in states[0].items()
        if value.is_floating_point()
    }
    network.load_state_dict(states[0] | mean)
    return network


def try_average(
    run: Path, *, device: str = "auto", dataset: Dataset | None = None, progress: Progress = silent
) -> AverageTrial:
    """Compare the average of a run's folds with their ensemble on some of its cases.

    Parameters
    ----------
    run : Path
        Of several folds, finished.
    device : str, default "auto"
    dataset : Dataset, optional
        Opened; by default the run's is opened where it was.
    progress : Progress, optional
        Called on the way; may raise `Cancelled`.

    Raises
    ------
    InputError
        When the model is one network, or the cases hold no label.
    """
    package = find_package(run)
    if not package.folds:
        raise InputError(f"the model in '{run}' is one network, so there is nothing to average")
    dataset = dataset or reopen_dataset(run)
    plan, cases = package.manifest.plan, dataset.cases[:: -(-len(dataset.cases) // CASES_TRIED)]
    held_out = prepare_held_out(dataset, cases, plan, cache_of(run), progress=progress)
    network = averaged_network(package)
    round_as_stored(network)
    where = choose_device(device)
    ensemble = Predictor.load(package, device=device, postprocessing=())
    averaged = Predictor(network.to(where.torch_device), plan, package.manifest.labels, where)
    dice = [
        mean_dice(model, held_out, regions=dataset.regions, progress=progress).get(MEAN)
        for model in (ensemble, averaged)
    ]
    if dice[0] is None or dice[1] is None:
        raise InputError(f"none of {listed_cases(c.name for c in cases)} holds a label to compare")
    return AverageTrial(network, dice[0], dice[1], len(cases))


def save_average(folder: Path, run: Path, trial: AverageTrial) -> ModelPackage:
    """Write an averaged network as a package; it has no scores, as no case is new to it."""
    manifest = find_package(run).manifest
    listed = ", ".join(str(fold.number) for fold in manifest.folds)
    facts = {
        "averaged": f"mean of the weights of folds {listed}",
        "averaged against ensemble": f"Dice {trial.averaged:.4f} against {trial.ensemble:.4f} on"
        f" {trial.cases} cases, which all but one of the folds were trained on",
    }
    summary = manifest.card.summary.replace(
        "predicts by their networks together", "its weights are the mean of theirs"
    )
    averaged = structs.replace(
        manifest,
        card=structs.replace(manifest.card, summary=summary),
        scores={},
        folds=(),
        provenance={**manifest.provenance, **facts},
        weights=UNSAVED,
    )
    return save_package(folder, averaged, trial.network)
