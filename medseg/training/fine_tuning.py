"""A run that starts from a model: its weights, its plan, its labels, and what it scored before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from medseg.errors import InputError, LabelError, PlanError
from medseg.model_package import Manifest, ModelPackage
from medseg.planning import Component, Normalisation, Plan, take_fingerprint
from medseg.planning.channel_rules import normalisations
from medseg.planning.plan import decode, encode
from medseg.planning.regions import class_regions
from medseg.planning.sides import side_doubt
from medseg.runtime.progress import Progress
from medseg.training.dataset import Case, Dataset
from medseg.training.history import History, read_history
from medseg.training.validation import Validation
from medseg.training.weight_transfer import (
    Transfer,
    channel_sources,
    transfer_of,
    transferred,
)
from medseg.volume import LabelTable
from medseg.volume.label_table import MEAN

if TYPE_CHECKING:
    from torch import nn

FILE = "start.json"


class ParentModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run keeps of the model it started from.

    Parameters
    ----------
    name, version, sha256 : str
        Of the model and its weights.
    licence, attribution : str
        Of the weights; what is trained from them inherits both.
    modality : str
        DICOM modality word of its scans, or ``""``.
    labels : LabelTable
        The structures in the order of the network's classes.
    transfer : Transfer or None
        What the run takes over; all, where it does not say.
    """

    name: str
    version: str
    sha256: str
    licence: str
    attribution: str
    modality: str
    labels: LabelTable
    transfer: Transfer | None = None


def check_fit(dataset: Dataset, package: ModelPackage) -> Transfer:
    """What a run takes over from a model; refused where it cannot, before anything is made.

    Parameters
    ----------
    dataset : Dataset
        With the labels and channels of the run.
    package : ModelPackage

    Raises
    ------
    LabelError
        When one learns regions and the other does not.
    PlanError
        When the kind of scan differs, or the model knows none of the channels.
    """
    manifest = package.manifest
    manifest.check_planned("trained further")
    if bool(manifest.plan.regions) != bool(dataset.regions):
        kinds = ("labels that exclude each other", "regions")
        ours, theirs = kinds[bool(dataset.regions)], kinds[not dataset.regions]
        raise LabelError(
            f"the dataset '{dataset.name}' has {ours} and the model '{manifest.name}' has {theirs};"
            " start from another model, or from nothing",
            code="OTHER_LABELS",
        )
    named_as(dataset, manifest.labels)
    theirs, ours = manifest.card.modality, dataset.modality
    if theirs and ours and theirs != ours:
        raise PlanError(
            f"the model '{manifest.name}' was made for {theirs} and the dataset '{dataset.name}'"
            f" holds {ours}; start from a model for {ours}, or from nothing"
        )
    scan, _ = dataset.read(dataset.cases[0])
    expected = manifest.plan.channels
    sources = channel_sources(dataset.channels, scan.channels, expected)
    if sources is None:
        names = f" ({', '.join(dataset.channels)})" if any(dataset.channels) else ""
        raise PlanError(
            f"the model '{manifest.name}' expects {len(expected)} channel(s)"
            f" ({', '.join(expected)}) and the scans of '{dataset.name}' have"
            f" {scan.channels}{names}; call those that are the same by the model's names, in"
            " dataset.json, or start from nothing",
            code="CHANNELS",
        )
    channels = dataset.channels if len(sources) > 1 else expected
    if not any(channels):
        channels = expected
    return transfer_of(dataset.labels, channels, sources, manifest.labels, manifest.plan)


def named_as(dataset: Dataset, labels: LabelTable) -> Dataset:
    """The dataset, numbered as the model where it has the labels of the same names.

    Raises
    ------
    LabelError
        When it has them with other values, and cannot be numbered.
    """
    same = set(dataset.labels.names) == set(labels.names)
    return dataset.numbered(labels) if same else dataset


def plan_of(
    package: ModelPackage,
    plan: Plan | None,
    dataset: Dataset,
    transfer: Transfer,
    cases: Sequence[Case],
) -> Plan:
    """The model's plan, for the labels and channels of a dataset.

    Parameters
    ----------
    package : ModelPackage
    plan : Plan or None
        That was given as well, and is refused.
    dataset : Dataset
    transfer : Transfer
    cases : sequence of Case
        To measure the intensities of new channels on.

    Raises
    ------
    InputError
        When another plan was given as well.
    """
    if plan is not None:
        raise InputError(
            f"a run that starts from the model '{package.manifest.name}' takes its plan from it;"
            " leave the other plan out"
        )
    plan = package.manifest.plan
    if not transfer.same_channels:
        plan = _with_channels(plan, dataset, transfer, cases)
    if transfer.same_labels:
        return plan
    doubt = side_doubt(dataset.labels)
    apart = tuple(axis for axis in plan.mirror_axes if plan.orientation[axis] not in "LR")
    kept = {k: value for k, value in plan.loss.settings.items() if k != "class_weights"}
    return structs.replace(
        plan,
        regions=class_regions(dataset.regions),
        loss=Component(name=plan.loss.name, settings=kept),
        mirror_axes=apart if doubt else plan.mirror_axes,
        side_doubt=doubt,
    )


def _with_channels(plan: Plan, dataset: Dataset, transfer: Transfer, cases: Sequence[Case]) -> Plan:
    """The plan for the dataset's channels: known ones keep their normalisation."""
    planned: Sequence[Normalisation] = [Normalisation()] * len(transfer.sources)
    if transfer.channels_new:
        planned = normalisations(take_fingerprint(dataset.read(case) for case in cases))
    return structs.replace(
        plan,
        channels=dataset.channels,
        normalisation=tuple(
            new if source is None else plan.normalisation[source]
            for source, new in zip(transfer.sources, planned, strict=True)
        ),
    )


def parent_file(package: ModelPackage, transfer: Transfer) -> dict[str, bytes]:
    """The file of a run that says what it starts from."""
    manifest, fold = package.manifest, package.as_one.fold
    parent = ParentModel(
        name=manifest.name if fold is None else f"{manifest.name} (fold {fold})",
        version=manifest.version,
        sha256=manifest.weights.sha256,
        licence=manifest.card.licence,
        attribution=manifest.card.attribution,
        modality=manifest.card.modality,
        labels=manifest.labels,
        transfer=transfer,
    )
    return {FILE: encode(parent)}


def read_parent(run: Path) -> ParentModel | None:
    """What a run started from; None when it started from random weights."""
    file = run / FILE
    return decode(file.read_bytes(), ParentModel, where=str(file)) if file.is_file() else None


def load_parent_weights(
    network: nn.Module, package: ModelPackage, parent: ParentModel, labels: LabelTable
) -> None:
    """Give `network` the weights of the model the run started from.

    Parameters
    ----------
    network : torch.nn.Module
    package : ModelPackage
    parent : ParentModel
    labels : LabelTable
        Of the run.

    Raises
    ------
    PackageError
        When they are missing or altered.
    InputError
        When the package holds another model than the run started from.
    """
    manifest = package.manifest
    if manifest.weights.sha256 != parent.sha256:
        raise InputError(
            f"'{package.folder}' holds another model than the '{parent.name}' this run started"
            " from; put that one back or start a new run"
        )
    package, transfer = package.as_one, parent.transfer
    if transfer is None or (transfer.same_labels and transfer.same_channels):
        package.load_weights(network)
        return
    weights = package.load_network().state_dict()
    network.load_state_dict(
        transferred(
            network, weights, transfer, plan=manifest.plan, model=manifest.labels, labels=labels
        )
    )


def measure_before(
    validation: Validation, run: Path, parent: ParentModel, progress: Progress
) -> None:
    """Score the model a run starts from on its held-out cases, once, as its step 0.

    Labels that it does not know are left out, and the mean is that of the others.
    """
    if not validation.cases or score_before(run):
        return
    dice = validation.at_the_end(progress)
    if parent.transfer is not None and parent.transfer.labels_new:
        dice = {name: dice[name] for name in parent.transfer.labels_kept if name in dice}
        if dice:
            dice[MEAN] = sum(dice.values()) / len(dice)
    if dice:
        with History(run) as history:
            history.add({"step": 0, "seconds": 0.0, "dice": dice})


def score_before(run: Path) -> dict[str, float]:
    """Mean Dice of the model that a run started from, on the run's held-out cases."""
    first = [record for record in read_history(run) if record["step"] == 0 and "dice" in record]
    return dict(first[0]["dice"]) if first else {}


def with_parent(manifest: Manifest, run: Path) -> Manifest:
    """The manifest with what the run started from, and the licence that comes with it."""
    parent = read_parent(run)
    if parent is None:
        return manifest
    facts = {"started from": f"{parent.name} {parent.version}", "its weights": parent.sha256}
    if parent.transfer is not None:
        facts |= parent.transfer.facts()
    before = score_before(run).get(MEAN)
    if before is not None:
        facts["its mean Dice on the same cases"] = f"{before:.4f}"
    summary = f"{manifest.card.summary.rstrip('.')}, starting from {parent.name}."
    card = structs.replace(
        manifest.card,
        summary=summary,
        licence=parent.licence,
        attribution=parent.attribution,
        modality=manifest.card.modality or parent.modality,
    )
    return structs.replace(manifest, card=card, provenance={**manifest.provenance, **facts})
