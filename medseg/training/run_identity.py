"""What a run learns from: its cases with a digest of their files, its labels and its folds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from medseg.errors import InputError, LabelError, PlanError
from medseg.planning import Plan
from medseg.planning.plan import decode, decode_plan
from medseg.planning.regions import Region
from medseg.runtime.parallel import in_parallel
from medseg.runtime.progress import Progress, silent
from medseg.training.cache import remove_case
from medseg.training.dataset import Case, Dataset
from medseg.training.dataset_source import DatasetSource
from medseg.training.file_digest import digest
from medseg.training.findings import listed_cases
from medseg.training.run_folder import cache_of
from medseg.training.run_status import IDENTITY, PLAN, SOURCE
from medseg.training.splits import Fold
from medseg.volume import LabelTable
from medseg.writing import write_bytes

Digests = tuple[str, str]
"""Of a case's images and of its label map."""


class RunIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file ``identity.json`` of a run.

    Parameters
    ----------
    labels : LabelTable
        Of the dataset, as :attr:`medseg.training.Dataset.annotated`.
    regions : tuple of Region
    modality : str
    folds : tuple of Fold
    images, label_maps : dict of str to str
        SHA-256 of the files of every case, by its name.
    plan : dict
        What ``plan.json`` said when the run's first case was prepared; empty before.
    """

    labels: LabelTable
    regions: tuple[Region, ...] = ()
    modality: str = ""
    folds: tuple[Fold, ...]
    images: dict[str, str]
    label_maps: dict[str, str]
    plan: dict[str, Any] = {}


def save_identity(run: Path, dataset: Dataset, digests: Mapping[str, Digests]) -> None:
    """Write down, in the run, what it learns from.

    Parameters
    ----------
    run : Path
    dataset : Dataset
    digests : mapping of str to (str, str)
        Of the images and of the label map of each case, as `digests_of` gives them.
    """
    _write(run, _identity_of(dataset, digests))


def digests_of(dataset: Dataset, *, progress: Progress = silent) -> dict[str, Digests]:
    """SHA-256 of the images and of the label map of each case, by its name.

    Parameters
    ----------
    dataset : Dataset
    progress : Progress, optional
        Called after each case; may raise `Cancelled`.
    """

    def both(case: Case) -> Digests:
        return digest(case.images), digest(case.label_files)

    pairs = in_parallel(both, dataset.cases, message="looking at the files", progress=progress)
    return dict(zip((case.name for case in dataset.cases), pairs, strict=True))


def read_identity(run: Path) -> RunIdentity | None:
    """What a run learns from; None for a run of an earlier medseg."""
    file = run / IDENTITY
    return decode(file.read_bytes(), RunIdentity, where=str(file)) if file.is_file() else None


def same_dataset(run: Path, dataset: Dataset, *, progress: Progress = silent) -> Dataset:
    """The cases and folds that a run began with, of a dataset that was opened again.

    Cases that were added since are passed over. Those whose files changed lose what was prepared
    of them, with a warning.

    Parameters
    ----------
    run : Path
    dataset : Dataset
    progress : Progress, optional
        Called before each case; may raise `Cancelled`.

    Raises
    ------
    LabelError
        When the labels are others.
    InputError
        When a case is gone, folds are others, or the files are those of another dataset.
    """
    kept = read_identity(run)
    if kept is None:
        save_identity(run, dataset, digests_of(dataset, progress=progress))
        return dataset
    _check_meaning(run, dataset, kept)
    dataset = _own_cases(run, dataset, kept)
    now = _identity_of(dataset, digests_of(dataset, progress=progress))
    now = structs.replace(now, plan=kept.plan)
    scans = [name for name in kept.images if now.images[name] != kept.images[name]]
    changed = [n for n in kept.images if n in scans or now.label_maps[n] != kept.label_maps[n]]
    if not changed:
        return dataset
    if len(scans) == len(kept.images) or not _same_folder(run, dataset):
        raise InputError(
            f"'{dataset.name}' is not the dataset that the run '{run}' began with: the files of"
            f" {listed_cases(changed)} are others; give that dataset, or start another run in"
            " another folder",
            code="OTHER_DATASET",
        )
    for name in changed:
        remove_case(cache_of(run), name)
    _write(run, now)
    warnings.warn(
        f"the files of {listed_cases(changed)} changed since the run '{run}' began; they are"
        " prepared anew, and what was learnt from them before stays learnt",
        stacklevel=2,
    )
    return dataset


def same_plan(run: Path, plan: Plan) -> None:
    """Keep the plan of a run that has none yet.

    Parameters
    ----------
    run : Path
    plan : Plan
        What its ``plan.json`` says now.

    Raises
    ------
    PlanError
        When it is not the plan that the run began with; the message names what was changed.
    """
    kept = read_identity(run)
    if kept is None:
        return
    if not kept.plan:
        _write(run, structs.replace(kept, plan=msgspec.to_builtins(plan)))
        return
    began = decode_plan(msgspec.json.encode(kept.plan), where=str(run / IDENTITY))
    changed = [
        f"{key} was {getattr(began, key)}"
        for key in plan.__struct_fields__
        if getattr(plan, key) != getattr(began, key)
    ]
    if changed:
        raise PlanError(
            f"'{run / PLAN}' was changed since the run began ({'; '.join(changed)}), and what was"
            " prepared and learnt goes by the plan as it was; put that back, or start another run"
            " with --plan in another folder",
            code="OTHER_PLAN",
        )


def _write(run: Path, identity: RunIdentity) -> None:
    plain = msgspec.json.encode(identity, order="deterministic")
    write_bytes(run / IDENTITY, msgspec.json.format(plain, indent=2) + b"\n")


def _identity_of(dataset: Dataset, digests: Mapping[str, Digests]) -> RunIdentity:
    return RunIdentity(
        labels=dataset.annotated,
        regions=dataset.regions,
        modality=dataset.modality,
        folds=dataset.folds,
        images={name: images for name, (images, _) in digests.items()},
        label_maps={name: label_map for name, (_, label_map) in digests.items()},
    )


def _check_meaning(run: Path, dataset: Dataset, kept: RunIdentity) -> None:
    """Refuse labels, regions and modality that are not the run's."""
    if (dataset.annotated, dataset.regions) != (kept.labels, kept.regions):
        raise LabelError(
            f"the run '{run}' began with the labels {_meaning(kept.labels, kept.regions)} and the"
            f" dataset now has {_meaning(dataset.annotated, dataset.regions)}; give those of the"
            " run, or start another run in another folder",
            code="OTHER_LABELS",
        )
    if dataset.modality != kept.modality:
        raise InputError(
            f"the run '{run}' began with the modality '{kept.modality}' and the dataset now has"
            f" '{dataset.modality}'; give that of the run, or start another run in another folder"
        )


def _own_cases(run: Path, dataset: Dataset, kept: RunIdentity) -> Dataset:
    """The run's cases and folds, whatever was added to the folder since."""
    cases = tuple(case for case in dataset.cases if case.name in kept.images)
    gone = sorted(set(kept.images) - {case.name for case in cases})
    if gone:
        raise InputError(
            f"'{dataset.name}' no longer has {listed_cases(gone)} of the run '{run}'; put back what"
            " is missing, or start another run in another folder"
        )
    if dataset.folds != kept.folds and len(cases) == len(dataset.cases):
        raise InputError(
            f"the folds of '{dataset.name}' are not those that the run '{run}' began with"
            f" ({_first_difference(kept.folds, dataset.folds)}); give those of the run (they stand"
            f" in its {IDENTITY}), or start another run in another folder",
            code="OTHER_FOLDS",
        )
    return replace(dataset, cases=cases, folds=kept.folds)


def _first_difference(kept: tuple[Fold, ...], given: tuple[Fold, ...]) -> str:
    for number, (ours, theirs) in enumerate(zip(kept, given, strict=False)):
        for name in sorted(ours.train ^ theirs.train):
            verb = "trains on" if name in ours.train else "does not train on"
            return f"fold {number} of the run {verb} '{name}'"
        for name in sorted(ours.validation ^ theirs.validation):
            verb = "holds out" if name in ours.validation else "does not hold out"
            return f"fold {number} of the run {verb} '{name}'"
    return f"the run has {len(kept)}, the dataset {len(given)}"


def _meaning(table: LabelTable, regions: tuple[Region, ...]) -> str:
    parts = ", ".join(f"{label.value} {label.name}" for label in table)
    return f"{parts} as regions" if regions else parts


def _same_folder(run: Path, dataset: Dataset) -> bool:
    """Whether the dataset lies where it lay when the run began."""
    if not (run / SOURCE).is_file() or dataset.source is None:
        return False
    began = decode((run / SOURCE).read_bytes(), DatasetSource, where=str(run / SOURCE))
    return began.path == dataset.source.path
