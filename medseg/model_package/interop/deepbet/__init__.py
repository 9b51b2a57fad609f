"""deepbet's brain mask of T1-weighted MR: the two files of weights of its package, and its steps.

L. Fisch et al., "deepbet: Fast brain extraction of T1-weighted MRI using convolutional neural
networks", Comput Biol Med 179:108845, 2024. The package (MIT licence) is not imported.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from medseg.errors import PackageError
from medseg.model_package.chain import Chain
from medseg.model_package.foreign_network import TWO_LOOKS
from medseg.model_package.interop.decoding import as_safetensors
from medseg.model_package.interop.files import ModelFiles
from medseg.model_package.interop.script_weights import script_weights
from medseg.model_package.manifest import Card, Manifest
from medseg.model_package.package import ModelPackage
from medseg.planning.plan import Component, Normalisation, Plan
from medseg.volume.label_table import Code, Label, LabelTable

NAME = "brain-mr-t1"
VERSION = "1.0.2"
"""Of deepbet, whose weights these are."""
_WEIGHTS = {
    "box": ("bbox_model.pt", "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa"),
    "whole": ("model.pt", "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd"),
}
"""The two networks' files and their SHA-256."""
_CARD = Card(
    summary="Brain mask (skull stripping) of T1-weighted MR",
    data="7,837 T1-weighted scans of 191 data sets of OpenNeuro",
    intended_use="Research: brain extraction of healthy adults.",
    limits="Other contrasts, children, and heads that are cut off were not in its training.",
    licence="MIT",
    attribution="deepbet 1.0.2, Lukas Fisch et al., University of Munster;"
    " Comput Biol Med 179:108845, 2024",
    modality="MR",
)
_CHAIN = Chain(
    before=(Component(name="Orientationd", settings={"axcodes": "RAS"}),),
    inferer=Component(name="BoxThenWhole"),
    after=(
        Component(name="Activationsd", settings={"sigmoid": True}),
        Component(name="AsDiscreted", settings={"threshold": 0.5}),
        Component(
            name="KeepLargestConnectedComponentd",
            settings={"applied_labels": [1], "is_onehot": False},
        ),
        Component(name="FillHolesd", settings={"applied_labels": [1], "connectivity": 1}),
        Component(name="Invertd", settings={"nearest_interp": True}),
    ),
    outputs=("brain",),
)


def recognises(path: Path) -> bool:
    """Whether it is deepbet's wheel, or the folder with its two files of weights."""
    if path.is_dir():
        return all((path / file).is_file() for file, _ in _WEIGHTS.values())
    return path.suffix == ".whl" and path.name.startswith("deepbet-")


def installed() -> Path | None:
    """The folder of the weights of the deepbet that is installed; None where it is not."""
    try:
        package = importlib.metadata.distribution("deepbet")
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(package.locate_file("data/models")))


def read(path: Path) -> ModelPackage:
    """The model, from deepbet's wheel or the folder of its weights.

    Parameters
    ----------
    path : Path

    Raises
    ------
    PackageError
        When a file is missing, or not the one of version `VERSION`.
    """
    files = ModelFiles(path)
    weights: dict[str, Any] = {}
    for part, (file, expected) in _WEIGHTS.items():
        name = (files.root_of(file) or "") + file
        data = files.read(name)
        if hashlib.sha256(data).hexdigest() != expected:
            raise PackageError(
                f"'{files.where(name)}' is not the file of deepbet {VERSION}; to have that:"
                " pip install 'medseg[brain]'",
                code="CHECKSUM",
            )
        tensors = script_weights(data, files.where(name))
        weights |= {f"{part}.{key}": tensor for key, tensor in tensors.items()}
    data, file_of = as_safetensors(weights)
    brain = Label(
        value=1,
        name="brain",
        color=(230, 160, 140),
        code=Code("12738006", "SCT", "Brain"),
    )
    manifest = Manifest(
        name=NAME,
        version=VERSION,
        plan=Plan(
            spacing_mm=(1.0, 1.0, 1.0),
            channels=("T1",),
            normalisation=(Normalisation(scheme="none"),),
            patch=(256, 256, 256),
            batch=1,
            network=Component(name=TWO_LOOKS),
            mirror_axes=(),
            augmentation=(),
            overlap=0.0,
        ),
        labels=LabelTable((brain,)),
        card=_CARD,
        provenance={"format": f"weights of deepbet {VERSION}"},
        weights=file_of,
        chain=_CHAIN,
    )
    return ModelPackage(path, manifest, data=data)
