"""From folders of nnU-Net v2 to a package of medseg."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from medseg.errors import InputError, PackageError
from medseg.model_package.interop.nnunet.checkpoint import Checkpoint, read_checkpoint
from medseg.model_package.interop.nnunet.dataset import DatasetFile, Meaning, meaning_of
from medseg.model_package.interop.nnunet.folders import (
    DATASET,
    Choice,
    Trained,
    choose,
    previous_of,
    read_json,
)
from medseg.model_package.interop.nnunet.options import ImportOptions
from medseg.model_package.interop.nnunet.planned import planned
from medseg.model_package.interop.nnunet.plans import convert
from medseg.model_package.interop.nnunet.postprocessed import FILE as POSTPROCESSING
from medseg.model_package.interop.nnunet.postprocessed import steps_of
from medseg.model_package.interop.nnunet.scores import fold_scores, mean_scores
from medseg.model_package.interop.nnunet.weights import has_batch_norm, load_into
from medseg.model_package.interop.totalsegmentator_table import check_licence
from medseg.model_package.manifest import Card, FoldScores, Manifest, fold_name
from medseg.model_package.package import NONE, UNSAVED, ModelPackage, save_package
from medseg.planning import Component, Plan
from medseg.reading import zip_archive
from medseg.runtime.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

PREVIOUS = "previous"


def import_nnunet(
    path: Path,
    folder: Path,
    options: ImportOptions | None = None,
    *,
    progress: Progress = silent,
) -> ModelPackage:
    """Write a trained model of nnU-Net v2 as a package; `folder` appears whole or not at all.

    Parameters
    ----------
    path : Path
        A folder ``TRAINER__PLANS__CONFIGURATION``, that of its dataset, or a zip archive of either.
    folder : Path
        Of the package.
    options : ImportOptions, optional
    progress : Progress, optional
        May raise `Cancelled`.

    Raises
    ------
    PackageError
        When it cannot be used; the message names the file and why.
    ReadError
        When an archive is damaged or unsafe.
    WriteError
        When the package cannot be written.
    """
    options = options or ImportOptions()
    with _opened(path, progress) as root, _named(path):
        choice = choose(root, options.configuration)
        for each in choice.members:
            check_licence(each.plans.dataset_name or each.folder.parent.name, each.folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".medseg-", dir=folder.parent) as scratch:
            if len(choice.members) == 1:
                return _save(choice.members[0], folder, options, choice.postprocessing, progress)
            return _save_ensemble(choice, folder, options, Path(scratch), progress)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the model's name before what is wrong with it."""
    try:
        yield
    except PackageError as error:
        raise PackageError(f"nnU-Net model '{path.name}': {error}", code=error.code) from error
    except InputError as error:
        raise type(error)(f"nnU-Net model '{path.name}': {error}", code=error.code) from error


@contextmanager
def _opened(path: Path, progress: Progress) -> Iterator[Path]:
    """The folder, or that of an archive's files for a while."""
    if path.is_dir():
        yield path
        return
    with zip_archive.unpacked(path, progress=progress, named=True) as folder:
        yield folder


def _save_ensemble(
    choice: Choice, folder: Path, options: ImportOptions, scratch: Path, progress: Progress
) -> ModelPackage:
    members = {
        each.configuration: _save(each, scratch / each.configuration, options, None, progress)
        for each in choice.members
    }
    first = next(iter(members.values())).manifest
    for package in members.values():
        if (package.manifest.labels, package.manifest.plan.channels) != (
            first.labels,
            first.plan.channels,
        ):
            raise PackageError(
                f"its configurations {', '.join(members)} have other labels or channels, so they"
                " cannot answer together",
                code="LABELS",
            )
    configurations = ", ".join(members)
    manifest = structs.replace(
        first,
        plan=structs.replace(first.plan, previous_labels=0),
        card=structs.replace(first.card, summary=f"{_SUMMARY} {configurations}, together."),
        postprocessing=_steps(choice.postprocessing, first.labels),
        scores={},
        folds=(),
        provenance={**first.provenance, "configuration": configurations},
        previous="",
        members=tuple(members),
        weights=NONE,
    )
    inner = {name: package.folder for name, package in members.items()}
    return save_package(folder, manifest, None, inner=inner)


_SUMMARY = "A model of nnU-Net v2:"


def _save(
    trained: Trained,
    folder: Path,
    options: ImportOptions,
    postprocessing: Path | None,
    progress: Progress,
) -> ModelPackage:
    """One configuration with all its folds, and the stage before it inside."""
    previous = previous_of(trained)
    with tempfile.TemporaryDirectory(prefix=".medseg-", dir=folder.parent) as scratch:
        inner = {}
        if previous is not None:
            stage = _save(previous, Path(scratch) / PREVIOUS, options, None, progress)
            inner[PREVIOUS] = stage.folder
        model = _Model.read(trained, options, progress)
        own = postprocessing or model.own_postprocessing()
        manifest = structs.replace(
            model.manifest,
            postprocessing=_steps(own, model.meaning.labels),
            previous=PREVIOUS if inner else "",
        )
        return save_package(folder, manifest, model.network, exact=True, inner=inner)


def _steps(file: Path | None, labels: Any) -> tuple[Component, ...]:
    return () if file is None else steps_of(read_json(file), labels)


@dataclass(frozen=True, eq=False)
class _Model:
    """A trained configuration in memory."""

    trained: Trained
    meaning: Meaning
    checkpoints: dict[str, Path]
    manifest: Manifest
    network: nn.Module

    @classmethod
    def read(cls, trained: Trained, options: ImportOptions, progress: Progress) -> _Model:
        """Its plans, labels and weights as medseg's."""
        from medseg.networks.adapters.ensemble import Ensemble

        dataset: DatasetFile = convert(
            read_json(trained.folder / DATASET), DatasetFile, where=f"'{DATASET}'"
        )
        meaning = meaning_of(dataset, where=f"'{DATASET}'")
        paths = trained.checkpoints(options.folds)
        networks: dict[str, nn.Module] = {}
        plan: Plan | None = None
        for number, (fold, path) in enumerate(paths.items()):
            progress(number, len(paths), f"reading {trained.configuration}, fold {fold}")
            checkpoint = read_checkpoint(path)
            if plan is None:
                first, plan = checkpoint, _plan(trained, dataset, meaning, checkpoint, options)
            networks[fold] = _filled(plan, meaning, checkpoint, path)
        assert plan is not None
        scores = tuple(fold_scores(path, fold, meaning) for fold, path in paths.items())
        several = len(paths) > 1
        manifest = Manifest(
            name=options.name or trained.plans.dataset_name or trained.folder.name,
            plan=plan,
            labels=meaning.labels,
            card=_card(trained, dataset),
            scores=mean_scores(scores),
            folds=scores if several else (),
            provenance=_provenance(trained, first, paths, scores),
            weights=UNSAVED,
        )
        folds = {fold_name(int(fold)): network for fold, network in networks.items() if several}
        network = Ensemble(folds) if several else next(iter(networks.values()))
        return cls(trained, meaning, paths, manifest, network)

    def own_postprocessing(self) -> Path | None:
        """What its cross-validation found to pay, over the folds that are taken."""
        folds = "_".join(self.checkpoints)
        file = self.trained.folder / f"crossval_results_folds_{folds}" / POSTPROCESSING
        return file if file.is_file() else None


def _plan(
    trained: Trained,
    dataset: DatasetFile,
    meaning: Meaning,
    checkpoint: Checkpoint,
    options: ImportOptions,
) -> Plan:
    configuration = trained.plans.configuration(trained.configuration)
    return planned(
        trained.plans,
        configuration,
        configuration.network(batch_norm=has_batch_norm(checkpoint.weights)),
        dataset,
        meaning,
        mirror_axes=checkpoint.mirror_axes,
        axes=options.axes,
    )


def _filled(plan: Plan, meaning: Meaning, checkpoint: Checkpoint, path: Path) -> nn.Module:
    """A network with a fold's weights."""
    from medseg.networks import build_network
    from medseg.networks.blocks.slice_wise import SliceWise

    network = build_network(plan, classes=plan.outputs(meaning.labels))
    inside = network.network if isinstance(network, SliceWise) else network
    try:
        load_into(inside, checkpoint.weights, plan.network)
    except PackageError as error:
        raise PackageError(
            f"{path.parent.name}/{path.name} of the trainer {checkpoint.trainer}: {error}",
            code=error.code,
        ) from error
    return network


def _card(trained: Trained, dataset: DatasetFile) -> Card:
    return Card(
        summary=f"{_SUMMARY} {trained.plans.dataset_name}, {trained.configuration}.".replace(
            ": ,", ":"
        ),
        data=_text(dataset.description),
        licence=_text(dataset.licence or dataset.license),
        attribution=_text(dataset.reference),
        modality=dataset.dicom_modality,
    )


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _provenance(
    trained: Trained,
    first: Checkpoint,
    paths: dict[str, Path],
    scores: Sequence[FoldScores],
) -> dict[str, str]:
    facts = {
        "program": "nnU-Net v2",
        "dataset": trained.plans.dataset_name,
        "configuration": trained.configuration,
        "trainer": first.trainer,
        "plans": trained.plans.plans_name,
        "folds": ", ".join(paths),
        "checkpoint": next(iter(paths.values())).name,
        "SHA-256 of the checkpoints": ", ".join(score.sha256 for score in scores),
    }
    return {name: value for name, value in facts.items() if value}
