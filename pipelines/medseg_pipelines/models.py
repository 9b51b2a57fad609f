"""What models are here and what they are."""

from __future__ import annotations

from rich.table import Table

from medseg.model_package import ModelPackage, find_package, shipped_packages
from medseg.model_package.backend_choice import kept_choices
from medseg_pipelines.console import Console


def show_models(*, console: Console) -> None:
    """Show the shipped models as a table."""
    packages = shipped_packages()
    if not packages:
        console.print("No model is shipped with this installation; `medseg train` makes one.")
        return
    table = Table()
    for title in ("name", "modality", "labels", "mean Dice", "summary"):
        table.add_column(title)
    for package in packages:
        manifest = package.manifest
        table.add_row(
            manifest.name,
            manifest.card.modality,
            ", ".join(manifest.labels.names),
            _dice(package),
            manifest.card.summary,
        )
    console.show(table)


def show_model(name_or_folder: str, *, console: Console) -> None:
    """Show one model: card, labels with scores, plan, provenance.

    Raises
    ------
    PackageError
        When there is no such model.
    """
    package = find_package(name_or_folder)
    manifest, plan, card = package.manifest, package.manifest.plan, package.manifest.card
    console.print(f"{manifest.name}, version {manifest.version}")
    table = Table()
    for title in ("value", "label", "mean Dice"):
        table.add_column(title)
    for fold in manifest.folds:
        table.add_column(f"fold {fold.number}")
    for label in manifest.labels:
        scores = (manifest.scores, *(fold.scores for fold in manifest.folds))
        dice = ("-" if label.name not in row else f"{row[label.name]:.3f}" for row in scores)
        table.add_row(str(label.value), label.name, *dice)
    console.show(table)
    facts = {
        "summary": card.summary,
        "modality": card.modality,
        "channels": ", ".join(plan.channels),
        "data": card.data,
        "intended use": card.intended_use,
        "limits": card.limits,
        "licence": card.licence,
        "attribution": card.attribution,
        "network": f"{plan.network.name}, patch {_by(plan.patch)} of {_by(plan.spacing_mm)} mm",
        "foreground Dice": _dice(package),
        "needs": ", ".join(f"{n.distribution} {n.version}" for n in manifest.requires),
        **manifest.provenance,
        "folder": str(package.folder),
    }
    for name, value in facts.items():
        if value:
            console.print(f"{name}: {value}")
    for choice in kept_choices(package):
        console.print(f"backend on {choice.key['processor']}, {choice.key['device']}: {choice}")


def _dice(package: ModelPackage) -> str:
    dice = package.manifest.mean_dice
    return "" if dice is None else f"{dice:.3f}"


def _by(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
