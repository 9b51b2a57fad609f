"""Train the shipped models by five folds and put them into the package.

    python benchmarks/ship_models.py [--model fetal-head-us ...] [--minutes 30] [--folds 0 1]

For each model: five folds by medseg's own recipe (RUNS/NAME/fold_N), the scores of every case by
the network that did not see it (RUNS/NAME/out_of_fold/scores.json), what else its card needs, and a
model of the same recipe trained on all cases (RUNS/NAME/all), which is packed with card and figure
of the scores. A package above 8 MB is refused: train a narrower network (`--features`). Whatever is
finished is used again and an interrupted training goes on, so the script can be killed and started
at any moment. The table goes to
benchmarks/results/ship_models.md. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from shipped import cards
from shipped.figure import dice_figure
from shipped.folds import dice_rows, fold_models, interval, out_of_fold, train_or_go_on
from shipped.measures import by_slice_position, circumference, false_tumours
from tasks.datasets import SHARED, TASKS, rows_of

from medseg.model_package import Card, ModelPackage, save_package
from medseg.model_package.store import SHIPPED
from medseg.training import Dataset, TrainingOptions
from medseg.volume import Code, LabelTable
from medseg.writing import write_text

HERE = Path(__file__).resolve().parent
MOST_BYTES = 8_000_000
FIGURE = "scores.png"


class Model(NamedTuple):
    """One shipped model.

    Parameters
    ----------
    task : str
        In ``tasks.datasets``.
    source : str
        Folder of the shared data, whose ``cases.csv`` says which cases belong together.
    card : Card
    code : Code
        What every label is.
    measure : callable or None
        From the dataset and the predictors by case to a sentence for the card.
    """

    task: str
    source: str
    card: Card
    code: Code
    measure: Callable[..., str] | None = None


MODELS = {
    "hippocampus-mr": Model(
        "hippocampus", "hippocampus", cards.HIPPOCAMPUS, Code("5366008", "SCT", "Hippocampus")
    ),
    "cardiac-lv-mr": Model(
        "cardiac",
        "cardiac_lv_mr",
        cards.CARDIAC,
        Code("87878005", "SCT", "Left ventricle"),
        by_slice_position,
    ),
    "fetal-head-us": Model(
        "fetal_head_mm",
        "fetal_head_us",
        cards.FETAL_HEAD,
        Code("69536005", "SCT", "Head"),
        circumference,
    ),
    "chest-lungs-xray": Model(
        "chest", "chest_xray_lungs", cards.CHEST, Code("39607008", "SCT", "Lung")
    ),
    "brain-tumor-mr": Model(
        "brain_tumor_free",
        "brain_tumor_t1ce",
        cards.BRAIN_TUMOR,
        Code("108369006", "SCT", "Neoplasm"),
        false_tumours,
    ),
    "skin-lesion-rgb": Model(
        "skin", "skin_lesion", cards.SKIN, Code("95324001", "SCT", "Skin lesion")
    ),
}


def main() -> None:
    """Make the models that are asked for, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--runs", type=Path, default=Path("runs/ship"))
    parser.add_argument("--minutes", type=float, default=30.0, help="of a training")
    parser.add_argument("--steps", type=int, help="of a training, in place of minutes")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--features", type=int, nargs="+", help="of the network's stages")
    parser.add_argument("--network", default="unet")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--target", type=Path, default=SHIPPED, help="where packages go")
    arguments = parser.parse_args()
    for name in arguments.model:
        ship(name, MODELS[name], arguments)
    keep(arguments.runs)


def ship(name: str, model: Model, arguments: argparse.Namespace) -> None:
    """Folds, scores, the model of all cases, its package."""
    run = arguments.runs / name
    dataset = TASKS[model.task].make(run / "dataset")
    options = TrainingOptions(
        minutes=None if arguments.steps else arguments.minutes,
        steps=arguments.steps,
        network=arguments.network,
        settings={"features": arguments.features} if arguments.features else {},
        device=arguments.device,
        name=name,
        validations=0,
    )
    predictors = fold_models(dataset, run, options, arguments.folds)
    summary = out_of_fold(dataset, run, predictors)
    remark = measured_once(run, len(predictors), lambda: described(model, dataset, predictors))
    print(f"== {name}, all cases", flush=True)
    folder = train_or_go_on(dataset, run / "all", msgspec.structs.replace(options, fold=None))
    pack(name, model, ModelPackage.open(folder), summary, remark, arguments)


def described(model: Model, dataset: Dataset, predictors: dict[str, Any]) -> str:
    """The sentence that a model's own measure gives; nothing for one without."""
    return model.measure(dataset, predictors) if model.measure else ""


def measured_once(run: Path, cases: int, measure: Callable[[], str]) -> str:
    """What was measured on so many cases, from the run where it is kept."""
    target = run / "remark.json"
    kept = json.loads(target.read_text()) if target.is_file() else {}
    if kept.get("cases") != cases:
        kept = {"cases": cases, "remark": measure()}
        write_text(target, json.dumps(kept) + "\n")
    return str(kept["remark"])


def pack(
    name: str,
    model: Model,
    trained: ModelPackage,
    summary: dict[str, Any],
    remark: str,
    arguments: argparse.Namespace,
) -> None:
    """The package with card, scores and figure, in place of an older one."""
    dice = dice_rows(summary)
    table = SHARED / model.source / "cases.csv"
    rows = rows_of(model.source) if table.is_file() else {}
    groups = {case: row["group"] for case, row in rows.items()}
    means = {label: sum(values.values()) / len(values) for label, values in dice.items()}
    spans = {label: interval(values, groups) for label, values in dice.items()}
    sentence = "Dice with 95 % bootstrap intervals over groups: " + ", ".join(
        f"{label} {means[label]:.3f} ({low:.3f} to {high:.3f})"
        for label, (low, high) in spans.items()
    )
    old = trained.manifest
    labels = [msgspec.structs.replace(label, code=model.code) for label in old.labels]
    limits = " ".join(part for part in (model.card.limits, remark, f"{sentence}.") if part)
    manifest = msgspec.structs.replace(
        old,
        labels=LabelTable(tuple(labels)),
        card=msgspec.structs.replace(model.card, limits=limits),
        scores={label: round(value, 4) for label, value in means.items()},
        provenance={
            **old.provenance,
            "scores": f"{len(arguments.folds)} folds, same recipe, {len(summary['cases'])} cases",
        },
    )
    package = save_package(arguments.runs / name / "package", manifest, trained.load_network())
    (package.folder / FIGURE).write_bytes(dice_figure(dice))
    readme = package.folder / "README.md"
    lines = readme.read_text(encoding="utf-8").rstrip() + f"\n\n![Dice by case]({FIGURE})\n"
    write_text(readme, lines)
    size = sum(path.stat().st_size for path in package.folder.iterdir())
    if size > MOST_BYTES:
        raise SystemExit(f"{name}: {size / 1e6:.2f} MB, more than 8; give fewer --features")
    shutil.rmtree(arguments.target / name, ignore_errors=True)
    shutil.copytree(package.folder, arguments.target / name)
    row = {"model": name, "mb": size / 1e6, "cases": len(summary["cases"]), "dice": means}
    row |= {"interval": spans, "remark": remark, "folds": len(arguments.folds)}
    write_text(arguments.runs / f"{name}.json", json.dumps(row, indent=1) + "\n")


def keep(runs: Path) -> None:
    """Print and write what was ever packed."""
    lines = ["| model | MB | folds | cases | Dice (95 %) | measured besides |", "|---" * 6 + "|"]
    for file in sorted(runs.glob("*.json")):
        row = json.loads(file.read_text())
        dice = ", ".join(
            f"{label} {row['dice'][label]:.3f} ({low:.3f} to {high:.3f})"
            for label, (low, high) in row["interval"].items()
        )
        lines.append(
            f"| {row['model']} | {row['mb']:.2f} | {row['folds']} | {row['cases']} | {dice} |"
            f" {row['remark']} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(HERE / "results" / "ship_models.md", text)


if __name__ == "__main__":
    main()
