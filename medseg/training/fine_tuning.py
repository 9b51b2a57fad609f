"""A run that starts from a model: its weights, its plan, its labels, and what it scored before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from medseg.errors import InputError, PlanError
from medseg.model_package import Manifest, ModelPackage
from medseg.planning import Plan
from medseg.planning.plan import decode, encode
from medseg.training.dataset import Dataset
from medseg.training.history import read_history
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
    """

    name: str
    version: str
    sha256: str
    licence: str
    attribution: str
    modality: str
    labels: LabelTable


def check_fit(dataset: Dataset, package: ModelPackage) -> None:
    """Refuse a dataset that a model cannot go on learning from, before anything is made.

    Raises
    ------
    LabelError
        When the labels differ.
    PlanError
        When the kind of scan differs.
    """
    manifest = package.manifest
    dataset.numbered(manifest.labels)
    theirs, ours = manifest.card.modality, dataset.modality
    if theirs and ours and theirs != ours:
        raise PlanError(
            f"the model '{manifest.name}' was made for {theirs} and the dataset '{dataset.name}'"
            f" holds {ours}; start from a model for {ours}, or from nothing"
        )
    scan, _ = dataset.read(dataset.cases[0])
    expected = manifest.plan.channels
    if scan.channels != len(expected):
        raise PlanError(
            f"the model '{manifest.name}' expects {len(expected)} channel(s)"
            f" ({', '.join(expected)}) and the scans of '{dataset.name}' have {scan.channels}",
            code="CHANNELS",
        )


def plan_of(package: ModelPackage, plan: Plan | None) -> Plan:
    """The model's plan; `InputError` when another one was given as well."""
    if plan is not None:
        raise InputError(
            f"a run that starts from the model '{package.manifest.name}' takes its plan from it;"
            " leave the other plan out"
        )
    return package.manifest.plan


def save_parent(run: Path, package: ModelPackage) -> None:
    """Write down, in the run, what it starts from."""
    manifest = package.manifest
    parent = ParentModel(
        name=manifest.name,
        version=manifest.version,
        sha256=manifest.weights.sha256,
        licence=manifest.card.licence,
        attribution=manifest.card.attribution,
        modality=manifest.card.modality,
        labels=manifest.labels,
    )
    (run / FILE).write_bytes(encode(parent))


def read_parent(run: Path) -> ParentModel | None:
    """What a run started from; None when it started from random weights."""
    file = run / FILE
    return decode(file.read_bytes(), ParentModel, where=str(file)) if file.is_file() else None


def load_parent_weights(network: nn.Module, package: ModelPackage, parent: ParentModel) -> None:
    """Give `network` the weights of the model the run started from.

    Raises
    ------
    PackageError
        When they are missing or altered.
    InputError
        When the package holds another model than the run started from.
    """
    if package.manifest.weights.sha256 != parent.sha256:
        raise InputError(
            f"'{package.folder}' holds another model than the '{parent.name}' this run started"
            " from; put that one back or start a new run"
        )
    package.load_weights(network)


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
