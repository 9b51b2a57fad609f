"""What models are here and what they are, and models that come from elsewhere."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from medseg.errors import PackageError
from medseg.model_package import (
    ModelPackage,
    find_package,
    import_model,
    shipped_packages,
    stored_packages,
)
from medseg.model_package.backend_choice import kept_choices
from medseg.model_package.interop import totalsegmentator
from medseg.model_package.interop.nnunet.options import ImportOptions
from medseg_pipelines.console import Console

_MOST_NAMES = 12


def show_models(*, console: Console) -> None:
    """Show the shipped and imported models as a table."""
    packages = [*shipped_packages(), *stored_packages()]
    if not packages:
        console.print("No model is here; `medseg train` makes one, `medseg models import` too.")
        return
    table = Table()
    for title in ("name", "modality", "labels", "mean Dice", "summary"):
        table.add_column(title)
    for package in packages:
        manifest = package.manifest
        table.add_row(
            manifest.name,
            manifest.card.modality,
            _few(manifest.labels.names),
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


def import_from(path: Path, options: ImportOptions, *, console: Console) -> None:
    """Make a model of another program one of yours, and say by which name it is found.

    Raises
    ------
    MedsegError
        When it cannot be used; nothing is left behind then.
    """
    if totalsegmentator.recognises(path):
        _import_tasks(path, options.configuration, console=console)
        return
    with console.progress("importing") as progress:
        package = import_model(path, options, progress=progress)
    manifest = package.manifest
    console.print(f"{manifest.name}: {_few(manifest.labels.names)}")
    console.print(f"Channels: {', '.join(manifest.plan.channels)}")
    console.print(f"Licence of the weights: {manifest.card.licence or 'not said; ask its makers'}")
    console.print(f"Kept in {package.folder}; use it with --model {manifest.name}.")


def _import_tasks(path: Path, task: str, *, console: Console) -> None:
    """Import TotalSegmentator's tasks and show what became of each."""
    with console.progress("importing") as progress:
        outcomes = totalsegmentator.import_tasks(path, task, progress=progress)
    table = Table()
    for title in ("task", "model", "labels", "licence of the weights"):
        table.add_column(title)
    for outcome in outcomes:
        if outcome.package is None:
            table.add_row(outcome.task, "none", "", outcome.licence)
            continue
        manifest = outcome.package.manifest
        table.add_row(outcome.task, manifest.name, str(len(manifest.labels)), outcome.licence)
    console.show(table)
    for outcome in outcomes:
        if outcome.reason:
            console.print(f"{outcome.task}: {outcome.reason}")
    if all(outcome.package is None for outcome in outcomes):
        raise PackageError("no task could be imported; see above", code="NO_MODEL")


def _few(names: tuple[str, ...]) -> str:
    """All names of a few, or the first ones and how many there are."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMES])}... ({len(names)} labels)"


def _dice(package: ModelPackage) -> str:
    dice = package.manifest.mean_dice
    return "" if dice is None else f"{dice:.3f}"


def _by(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
