"""What several folds are worth on cases that none of them saw: alone, together, and averaged.

    python benchmarks/folds.py DATASET [--cases 60] [--unseen 20] [--folds 5] [--steps 500]
        [--from MODEL] [--device auto] [--run FOLDER]

Some cases are laid aside; the others are trained on in folds. Measured on those laid aside are
each fold's network, the ensemble of all by the mean of logits (as a model of several folds
predicts) and by the mean of probabilities, and one network with the mean of all weights. Prints the
rows of a table.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from medseg.inference import Predictor
from medseg.model_package import find_package
from medseg.networks.adapters.ensemble import Ensemble
from medseg.training import Dataset, TrainingOptions, open_dataset, train_folds
from medseg.training.ensemble import averaged_network
from medseg.training.held_out import prepare_held_out
from medseg.training.splits import make_folds
from medseg.training.validation import mean_dice
from medseg.volume.label_table import MEAN


class MeanOfProbabilities(Ensemble):
    """The logarithm of the mean probability, in place of the mean logit; for exclusive classes."""

    def forward(self, tiles: Tensor) -> Tensor:
        """Logarithms of probabilities; shape (B, L, I, J, K)."""
        logs = torch.stack([network(tiles).float().log_softmax(dim=1) for network in self.values()])
        return logs.logsumexp(dim=0)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--unseen", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--from", dest="start")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--run", type=Path)
    arguments = parser.parse_args()
    known, unseen = parted(open_dataset(arguments.dataset), arguments)
    options = TrainingOptions(
        steps=arguments.steps, validations=1, device=arguments.device, start=arguments.start
    )
    with tempfile.TemporaryDirectory() as scratch:
        run = arguments.run or Path(scratch) / "run"
        train_folds(known, run, options=options, resume=run.exists())
        for name, dice in measured(run, unseen, Path(scratch) / "unseen", arguments.device):
            print(f"| {name} | {dice:.4f} |")


def parted(dataset: Dataset, arguments: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """The cases to train on, in folds, and those laid aside."""
    first = make_folds([case.name for case in dataset.cases], dataset.patients)
    order = sorted(dataset.cases, key=lambda c: [c.name in f.validation for f in first].index(True))
    step = max(len(order) // arguments.cases, 1)
    chosen = order[::step][: arguments.cases]
    aside = chosen[:: len(chosen) // arguments.unseen][: arguments.unseen]
    rest = tuple(sorted((c for c in chosen if c not in aside), key=lambda c: c.name))
    names = [case.name for case in rest]
    parts = [frozenset(names[number :: arguments.folds]) for number in range(arguments.folds)]
    folds = tuple(type(first[0])(frozenset(names) - part, part) for part in parts)
    return replace(dataset, cases=rest, folds=folds), replace(dataset, cases=tuple(aside))


def measured(run: Path, unseen: Dataset, cache: Path, device: str) -> list[tuple[str, float]]:
    """Mean Dice on the cases laid aside, by each way to use the folds."""
    package = find_package(run)
    together = Predictor.load(package, device=device)
    cases = prepare_held_out(unseen, unseen.cases, together.plan, cache)
    where = together.device.torch_device
    networks = dict(together.network.items())
    ways = {f"fold {number}": networks[f"fold_{number}"] for number in package.folds}
    ways["mean of logits"] = together.network
    ways["mean of probabilities"] = MeanOfProbabilities(networks)
    ways["mean of weights"] = averaged_network(package).to(where)
    rows = []
    for name, network in ways.items():
        dice = mean_dice(replace(together, network=network.eval()), cases, regions=unseen.regions)
        rows.append((name, dice[MEAN]))
    alone = [dice for name, dice in rows if name.startswith("fold")]
    return [("one fold, mean", sum(alone) / len(alone)), *rows]


if __name__ == "__main__":
    main()
