"""What a model package says about itself: strict data, never code."""

from __future__ import annotations

import msgspec

from medseg.planning.plan import Component, Plan
from medseg.volume.label_table import LabelTable


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weights file of a package.

    Parameters
    ----------
    file : str
        Name inside the package folder.
    sha256 : str
        Hexadecimal digest of the file.
    """

    file: str
    sha256: str


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person should know before using a model.

    Parameters
    ----------
    summary : str
        One sentence.
    data, intended_use, limits : str
        What it was trained on, what it is for, where it fails.
    licence, attribution : str
        Of the weights.
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


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything besides the weights.

    Parameters
    ----------
    schema_version : int
        Of this file.
    name : str
        Public name, such as ``"hippocampus-mr"``.
    version : str
        Of the model.
    plan : Plan
        From raw scan to network input.
    labels : LabelTable
        What the network's classes 1, 2... mean, in the order of the table.
    card : Card
        For people.
    refining : tuple of Component
        Steps of ``medseg.postprocessing`` after the network, in order; mostly none.
    scores : dict of str to float
        Measured mean Dice by label name (and ``"foreground"``) on held-out cases.
    provenance : dict of str to str
        Software versions, dataset, fold, steps.
    weights : Weights
        The file and its digest.
    """

    schema_version: int = 1
    name: str
    version: str = "1"
    plan: Plan
    labels: LabelTable
    card: Card = Card()
    refining: tuple[Component, ...] = ()
    scores: dict[str, float] = {}
    provenance: dict[str, str] = {}
    weights: Weights
