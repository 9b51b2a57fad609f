"""What a run learns from: its cases with a digest of their files, its labels and its folds."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from medseg.errors import InputError, LabelError
from medseg.planning.plan import decode
from medseg.runtime.progress import Progress, silent
from medseg.training.cache import remove_case
from medseg.training.dataset import Dataset
from medseg.training.dataset_source import DatasetSource
from medseg.training.regions import Region
from medseg.training.run_status import CACHE, IDENTITY, SOURCE
from medseg.training.splits import Fold
from medseg.volume import LabelTable
from medseg.writing import write_bytes

NAMED = 5
"""Cases that a sentence names at most."""


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
    """

    labels: LabelTable
    regions: tuple[Region, ...] = ()
    modality: str = ""
    folds: tuple[Fold, ...]
    images: dict[str, str]
    label_maps: dict[str, str]


def save_identity(run: Path, dataset: Dataset, *, progress: Progress = silent) -> RunIdentity:
    """Write down, in the run, what it learns from.

    Parameters
    ----------
    run : Path
    dataset : Dataset
    progress : Progress, optional
        Called before each case; may raise `Cancelled`.
    """
    identity = _identity_of(dataset, progress)
    _write(run, identity)
    return identity


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
        save_identity(run, dataset, progress=progress)
        return dataset
    _check_meaning(run, dataset, kept)
    dataset = _own_cases(run, dataset, kept)
    now = _identity_of(dataset, progress)
    scans = [name for name in kept.images if now.images[name] != kept.images[name]]
    changed = [n for n in kept.images if n in scans or now.label_maps[n] != kept.label_maps[n]]
    if not changed:
        return dataset
    if len(scans) == len(kept.images) or not _same_folder(run, dataset):
        raise InputError(
            f"'{dataset.name}' is not the dataset that the run '{run}' began with: the files of"
            f" {_listed(changed)} are others; give that dataset, or start another run in another"
            " folder",
            code="OTHER_DATASET",
        )
    for name in changed:
        remove_case(run / CACHE, name)
    _write(run, now)
    warnings.warn(
        f"the files of {_listed(changed)} changed since the run '{run}' began; they are prepared"
        " anew, and what was learnt from them before stays learnt",
        stacklevel=2,
    )
    return dataset


def _write(run: Path, identity: RunIdentity) -> None:
    plain = msgspec.json.encode(identity, order="deterministic")
    write_bytes(run / IDENTITY, msgspec.json.format(plain, indent=2) + b"\n")


def _identity_of(dataset: Dataset, progress: Progress) -> RunIdentity:
    images, label_maps = {}, {}
    for done, case in enumerate(dataset.cases):
        progress(done, len(dataset.cases), "looking at the files")
        images[case.name] = _digest(case.images)
        label_maps[case.name] = _digest(case.label_files)
    return RunIdentity(
        labels=dataset.annotated,
        regions=dataset.regions,
        modality=dataset.modality,
        folds=dataset.folds,
        images=images,
        label_maps=label_maps,
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
            f"'{dataset.name}' no longer has {_listed(gone)} of the run '{run}'; put back what is"
            " missing, or start another run in another folder"
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


def _listed(names: Iterable[str]) -> str:
    """Case names for a sentence."""
    names = sorted(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    word = "case" if len(names) == 1 else "cases"
    return f"{word} {', '.join(names[:NAMED])}{more}"


def _same_folder(run: Path, dataset: Dataset) -> bool:
    """Whether the dataset lies where it lay when the run began."""
    if not (run / SOURCE).is_file() or dataset.source is None:
        return False
    began = decode((run / SOURCE).read_bytes(), DatasetSource, where=str(run / SOURCE))
    return began.path == dataset.source.path


def _digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the content of files, and of all files of folders."""
    whole = hashlib.sha256()
    for path in paths:
        for file in _parts(path):
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _parts(path: Path) -> list[Path]:
    """The files of a scan: those of a DICOM folder, and the voxels beside an ``.mhd`` header."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix != ".mhd":
        return [path]
    return sorted(file for file in path.parent.iterdir() if file.stem == path.stem)
