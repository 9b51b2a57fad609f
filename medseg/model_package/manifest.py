"""What a model package says about itself: strict data, never code."""

from __future__ import annotations

from typing import Any

import msgspec

from medseg.errors import InputError, PackageError
from medseg.metrics.scores import mean_named
from medseg.model_package.chain import Chain
from medseg.model_package.requirements import Requirement
from medseg.planning.plan import Component, Plan, decode, upgraded
from medseg.volume.label_table import MEAN, LabelTable

SCHEMA_VERSION = 4
"""Of what is written. Still read: 3, which knew no models inside others, 2, which knew no folds,
and 1, which called postprocessing "refining"."""


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weights file of a package."""

    file: str
    sha256: str


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person should know before using a model.

    Parameters
    ----------
    summary : str
    data, intended_use, limits : str
        What it was trained on, what it is for, where it fails.
    licence, attribution : str
    modality : str
        DICOM modality word of the scans it expects, or ``""``.
    """

    summary: str = ""
    data: str = ""
    intended_use: str = ""
    limits: str = ""
    licence: str = ""
    attribution: str = ""
    modality: str = ""


def fold_name(number: int) -> str:
    """What the network of a fold is called in a file of weights, and its folder in a run."""
    return f"fold_{number}"


class FoldScores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network of a model that holds one of each fold, on the cases that it did not see.

    Parameters
    ----------
    number : int
        Of the fold.
    cases : int
        Held out.
    scores : dict of str to float
        Mean Dice over them by label name.
    sha256 : str
        Of the weights of the fold's own model, whose network it is.
    """

    number: int
    cases: int
    scores: dict[str, float] = {}
    sha256: str = ""


class Crop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model looks: around structures that another one finds.

    Parameters
    ----------
    model : str
        Subfolder with the model that finds them.
    labels : tuple of str
        Their names.
    margin_mm : float
        Around the box that holds them.
    """

    model: str
    labels: tuple[str, ...]
    margin_mm: float = 0.0


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything besides the weights.

    Parameters
    ----------
    schema_version : int
    name : str
        Public name, such as ``"hippocampus-mr"``.
    version : str
    plan : Plan
        From raw scan to network input.
    labels : LabelTable
        What the network's classes 1, 2... mean, in the order of the table.
    card : Card
    postprocessing : tuple of Component
        Steps of ``medseg.postprocessing`` after the network, in order; mostly none.
    scores : dict of str to float
        Measured mean Dice by label name on held-out cases; over labels, see :attr:`mean_dice`.
        With `folds`, the mean over them.
    folds : tuple of FoldScores
        Of which the weights hold a network each; empty where they are those of one network.
    provenance : dict of str to str
        Software versions, dataset, fold, steps.
    requires : tuple of Requirement
        Installed packages other than medseg that the network and the steps come from.
    weights : Weights
        The file and its digest; that of no file where the model is made of `members` or `parts`.
    previous : str
        Subfolder with the model whose labels are further input of this one (a cascade).
    members : tuple of str
        Subfolders with models of the same labels, whose mean probability is the answer.
    parts : tuple of str
        Subfolders with models of some of the labels each, by name; where several find one, that of
        the last.
    crop : Crop or None
        Where the model looks; everywhere without it.
    digests : dict of str to str
        SHA-256 of the manifest in each of these subfolders.
    chain : Chain or None
        Of a model of another program, the steps that are done in place of what the plan says.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str = "1"
    plan: Plan
    labels: LabelTable
    card: Card = Card()
    postprocessing: tuple[Component, ...] = ()
    scores: dict[str, float] = {}
    folds: tuple[FoldScores, ...] = ()
    provenance: dict[str, str] = {}
    requires: tuple[Requirement, ...] = ()
    weights: Weights
    previous: str = ""
    members: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    crop: Crop | None = None
    digests: dict[str, str] = {}
    chain: Chain | None = None

    def check_planned(self, purpose: str) -> None:
        """Refuse a model of another program where the plan has to say all that is done.

        Parameters
        ----------
        purpose : str
            What it cannot be, such as ``"exported"``.

        Raises
        ------
        InputError
            When it has a chain.
        """
        if self.chain is not None:
            raise InputError(
                f"the model '{self.name}' comes from another program and does that program's steps"
                f" in place of a plan's, so it cannot be {purpose}; use its own files there",
                code="FOREIGN",
            )

    @property
    def mean_dice(self) -> float | None:
        """The mean over labels of `scores`; None where nothing was measured."""
        return mean_named(self.scores).get(MEAN)


def decode_manifest(data: bytes, *, where: str) -> Manifest:
    """A manifest from JSON, of this schema version or of an older one.

    Raises
    ------
    PackageError
        When a newer medseg wrote it.
    PlanError
        When it does not decode.
    """
    content = decode(data, dict[str, Any], where=where)
    version = content.get("schema_version", 1)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise PackageError(
            f"'{where}' has schema version {version}, this medseg reads up to {SCHEMA_VERSION};"
            " update medseg"
        )
    return decode(msgspec.json.encode(_upgraded(content, where=where)), Manifest, where=where)


def _upgraded(content: dict[str, Any], *, where: str) -> dict[str, Any]:
    """The JSON of an older manifest, or of one with an older plan, in today's words."""
    if isinstance(content.get("plan"), dict):
        content["plan"] = upgraded(content["plan"], where=where)
    if content.get("schema_version", 1) == 1 and "refining" in content:
        content["postprocessing"] = content.pop("refining")
    if content.get("schema_version", 1) in (1, 2, 3):
        content["schema_version"] = SCHEMA_VERSION
    return content
