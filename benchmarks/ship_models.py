"""Train the shipped models by five folds and put them into the package.

    python benchmarks/ship_models.py [--model fetal-head-us ...] [--steps 4000] [--only-fold 2]

For each model one run of all folds by medseg's own recipe (RUNS/NAME; every case is scored by the
network that did not see it, in its out_of_fold/scores.json), and what else its card needs. Its
package, of all folds, is shipped where it has at most 8 MB; else a network of the same recipe that
was trained on all cases (RUNS/NAME-all), with the scores of the folds. One that is still larger is
refused: train a narrower network (`--features`). A training is as long as `--steps` says, so that
it does not depend on what else the machine does. Whatever is finished is used again and an
interrupted training goes on, so the script can be killed and started at any moment. `--only-fold`
trains one fold and packs nothing: for calls of limited time. The table goes to
benchmarks/results/ship_models.md. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from shipped import cards
from shipped.figure import dice_figure
from shipped.folds import (
    SCORES,
    dice_rows,
    predictors_by_case,
    size_of,
    train_all,
    train_one_fold,
    train_or_go_on,
)
from shipped.measures import by_slice_position, circumference, false_tumours
from tasks.datasets import TASKS

from medseg.model_package import Card, ModelPackage, save_package
from medseg.model_package.store import SHIPPED
from medseg.training import Dataset, TrainingOptions
from medseg.training.splits import Fold
from medseg.volume import Code, LabelTable
from medseg.volume.label_table import MEAN
from medseg.writing import write_text

HERE = Path(__file__).resolve().parent
MOST_BYTES = 8_000_000
FIGURE, ROW = "scores.png", "-row.json"


class Model(NamedTuple):
    """One shipped model.

    Parameters
    ----------
    task : str
        In ``tasks.datasets``.
    card : Card
    code : Code
        What every label is.
    measure : callable or None
        From the dataset and the predictors by case to a sentence for the card.
    """

    task: str
    card: Card
    code: Code
    measure: Callable[..., str] | None = None


MODELS = {
    "hippocampus-mr": Model(
        "hippocampus", cards.HIPPOCAMPUS, Code("5366008", "SCT", "Hippocampus")
    ),
    "cardiac-lv-mr": Model(
        "cardiac",
        cards.CARDIAC,
        Code("87878005", "SCT", "Left ventricle"),
        by_slice_position,
    ),
    "fetal-head-us": Model(
        "fetal_head_mm",
        cards.FETAL_HEAD,
        Code("69536005", "SCT", "Head"),
        circumference,
    ),
    "chest-lungs-xray": Model("chest", cards.CHEST, Code("39607008", "SCT", "Lung")),
    "brain-tumor-mr": Model(
        "brain_tumor_free",
        cards.BRAIN_TUMOR,
        Code("108369006", "SCT", "Neoplasm"),
        false_tumours,
    ),
    "skin-lesion-rgb": Model("skin", cards.SKIN, Code("95324001", "SCT", "Skin lesion")),
}


def main() -> None:
    """Make the models that are asked for, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--runs", type=Path, default=Path("runs/ship"))
    parser.add_argument("--steps", type=int, default=4000, help="of each training")
    parser.add_argument("--folds", type=int, nargs="+", help="all, if none is named")
    parser.add_argument("--only-fold", type=int, help="train it alone, and pack nothing")
    parser.add_argument("--cases", type=int, help="the first ones of each fold only, for a trial")
    parser.add_argument("--features", type=int, nargs="+", help="of the network's stages")
    parser.add_argument("--network", default="unet")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--target", type=Path, default=SHIPPED, help="where packages go")
    arguments = parser.parse_args()
    for name in arguments.model:
        ship(name, MODELS[name], arguments)
    if arguments.only_fold is None:
        keep(arguments.runs)


def ship(name: str, model: Model, arguments: argparse.Namespace) -> None:
    """Folds, scores, the network of all cases where the folds are too large, the package."""
    run = arguments.runs / name
    dataset = TASKS[model.task].make(arguments.runs / "data" / name)
    if arguments.cases:
        dataset = fewer_cases(dataset, arguments.cases)
    options = TrainingOptions(
        steps=arguments.steps,
        network=arguments.network,
        settings={"features": arguments.features} if arguments.features else {},
        device=arguments.device,
        name=name,
        validations=0,
    )
    folds = arguments.folds or range(len(dataset.folds))
    if arguments.only_fold is not None:
        train_one_fold(dataset, run, options, folds, arguments.only_fold)
        return
    trained = ModelPackage.open(train_all(dataset, run, options, folds))
    scores = json.loads((run / SCORES).read_text())
    remark = measured_once(
        arguments.runs / f"{name}-remark.json",
        len(scores["cases"]),
        lambda: described(model, dataset, predictors_by_case(run, scores, arguments.device)),
    )
    if size_of(trained) > MOST_BYTES:
        folder = arguments.runs / f"{name}-all"
        trained = ModelPackage.open(
            train_or_go_on(dataset, folder, msgspec.structs.replace(options, fold=None))
        )
    pack(name, model, trained, scores, remark, arguments)


def fewer_cases(dataset: Dataset, count: int) -> Dataset:
    """The first cases of what each fold holds out, in folds of these."""
    held_out = [frozenset(sorted(fold.validation)[:count]) for fold in dataset.folds]
    names = frozenset().union(*held_out)
    folds = tuple(Fold(names - some, some) for some in held_out)
    cases = tuple(case for case in dataset.cases if case.name in names)
    return replace(dataset, cases=cases, folds=folds)


def described(model: Model, dataset: Dataset, predictors: dict[str, Any]) -> str:
    """The sentence that a model's own measure gives; nothing for one without."""
    return model.measure(dataset, predictors) if model.measure else ""


def measured_once(target: Path, cases: int, measure: Callable[[], str]) -> str:
    """What was measured on so many cases, from the file where it is kept."""
    kept = json.loads(target.read_text()) if target.is_file() else {}
    if kept.get("cases") != cases:
        kept = {"cases": cases, "remark": measure()}
        write_text(target, json.dumps(kept) + "\n")
    return str(kept["remark"])


def pack(
    name: str,
    model: Model,
    trained: ModelPackage,
    scores: dict[str, Any],
    remark: str,
    arguments: argparse.Namespace,
) -> None:
    """The package with card, scores and figure, in place of an older one."""
    dice = {label: row["dice"] for label, row in scores["statistics"].items() if label != MEAN}
    sentence = "Dice out of fold with 95 % bootstrap intervals: " + in_words(dice)
    by_fold = ", ".join(f"{fold['dice'][MEAN]:.3f}" for fold in scores["folds"])
    sentence += f"; mean Dice of the folds: {by_fold}."
    old = trained.manifest
    labels = [msgspec.structs.replace(label, code=model.code) for label in old.labels]
    limits = " ".join(part for part in (model.card.limits, remark, sentence) if part)
    facts = f"{len(scores['folds'])} folds, same recipe, {len(scores['cases'])} cases"
    manifest = msgspec.structs.replace(
        old,
        labels=LabelTable(tuple(labels)),
        card=msgspec.structs.replace(model.card, limits=limits),
        scores={label: round(row["mean"], 4) for label, row in dice.items()},
        provenance={**old.provenance, "scores": facts},
    )
    folder = arguments.runs / f"{name}-package"
    package = save_package(folder, manifest, trained.load_network())
    (package.folder / FIGURE).write_bytes(dice_figure(dice_rows(scores)))
    readme = package.folder / "README.md"
    lines = readme.read_text(encoding="utf-8").rstrip() + f"\n\n![Dice by case]({FIGURE})\n"
    write_text(readme, lines)
    size = size_of(package)
    if size > MOST_BYTES:
        raise SystemExit(f"{name}: {size / 1e6:.2f} MB, more than 8; give fewer --features")
    shutil.rmtree(arguments.target / name, ignore_errors=True)
    shutil.copytree(package.folder, arguments.target / name)
    row = {"model": name, "mb": size / 1e6, "networks": max(1, len(manifest.folds))}
    row |= {"scores": facts, "dice": in_words(dice), "remark": remark}
    write_text(arguments.runs / f"{name}{ROW}", json.dumps(row, indent=1) + "\n")


def in_words(dice: dict[str, dict[str, Any]]) -> str:
    """Means of labels, with their intervals where there are any."""
    spans = {
        label: "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})"
        for label, row in dice.items()
    }
    return ", ".join(f"{label} {row['mean']:.3f}{spans[label]}" for label, row in dice.items())


def keep(runs: Path) -> None:
    """Print and write what was ever packed."""
    lines = [
        "| model | MB | networks | scores | Dice (95 %) | measured besides |",
        "|---" * 6 + "|",
    ]
    for file in sorted(runs.glob(f"*{ROW}")):
        row = json.loads(file.read_text())
        lines.append(
            f"| {row['model']} | {row['mb']:.2f} | {row['networks']} | {row['scores']} |"
            f" {row['dice']} | {row['remark']} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(HERE / "results" / "ship_models.md", text)


if __name__ == "__main__":
    main()
