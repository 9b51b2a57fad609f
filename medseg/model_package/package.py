"""One folder: manifest.json, weights.safetensors, README.md."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from medseg.errors import InputError, PackageError, WriteError, reason
from medseg.model_package.card import card_text
from medseg.model_package.manifest import Manifest, Weights, decode_manifest, fold_name
from medseg.model_package.requirements import check_installed, requirements_of
from medseg.planning.plan import encode

if TYPE_CHECKING:
    import torch
    from torch import nn

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
SAFETENSORS = ".safetensors"
UNSAVED = Weights(file=WEIGHTS, sha256="")
"""Stands in a manifest until `save_package` knows the digest."""
NONE = Weights(file="", sha256="")
"""Of a model that is made of others."""


@dataclass(frozen=True)
class ModelPackage:
    """A verified model on disk.

    Parameters
    ----------
    folder : Path
    manifest : Manifest
    fold : int or None
        The only one whose network is taken; None takes those of all folds, as an ensemble.
    data : bytes or None
        Weights in memory, of a model that was read from another program's files.
    """

    folder: Path
    manifest: Manifest
    fold: int | None = None
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: Path) -> ModelPackage:
        """Read the manifest of a package folder; the weights are verified when they are loaded.

        Raises
        ------
        PackageError
            When the folder holds no manifest.
        PlanError
            When the manifest does not decode.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise PackageError(f"'{folder}' is no model package: it holds no {MANIFEST}")
        return cls(folder, decode_manifest(path.read_bytes(), where=str(path)))

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds that answer together; empty where one network answers alone."""
        return () if self.fold is not None else tuple(f.number for f in self.manifest.folds)

    @property
    def composed(self) -> bool:
        """Whether it has no network of its own, but models inside that answer together."""
        return bool(self.manifest.members or self.manifest.parts)

    def inner(self, name: str) -> ModelPackage:
        """The model in a subfolder that the manifest names.

        Raises
        ------
        PackageError
            When it is missing, or another than when this model was made.
        """
        package = ModelPackage.open(self.folder / Path(name).name)
        if _digest(package.folder) != self.manifest.digests.get(name):
            raise PackageError(
                f"the model in '{package.folder}' is not the one that '{self.manifest.name}' was"
                " made with: it was altered or damaged; copy the whole model again",
                code="CHECKSUM",
            )
        return package

    def of_fold(self, number: int) -> ModelPackage:
        """The same model with the network of one fold alone.

        Raises
        ------
        InputError
            When the model has no such fold.
        """
        folds = {fold.number: fold for fold in self.manifest.folds}
        if number not in folds:
            has = f"it has {', '.join(map(str, folds))}" if folds else "it is one network"
            raise InputError(f"the model '{self.manifest.name}' has no fold {number}; {has}")
        scores = folds[number].scores
        manifest = msgspec.structs.replace(self.manifest, folds=(folds[number],), scores=scores)
        return replace(self, manifest=manifest, fold=number)

    @property
    def as_one(self) -> ModelPackage:
        """The model with one network: of several folds, that of the first."""
        return self.of_fold(self.folds[0]) if self.folds else self

    def load_network(self, given: nn.Module | None = None) -> nn.Module:
        """The network with its weights, on the CPU, in evaluation mode; of several folds, all.

        Parameters
        ----------
        given : torch.nn.Module, optional
            For a model that was trained with a network of Python: one of the same layers, which
            takes the weights.

        Raises
        ------
        PackageError
            When the weights are missing, altered, or do not fit the network, or a package that it
            comes from is not installed.
        PlanError
            When labels do not fit the plan's regions, or the network has to be given.
        """
        if self.composed:
            raise PackageError(
                f"the model '{self.manifest.name}' is made of several"
                f" ({', '.join((*self.manifest.members, *self.manifest.parts))}) and is no single"
                f" network; take one of these folders in '{self.folder}'",
                code="COMPOSED",
            )
        from medseg.networks import build_network
        from medseg.networks.adapters.ensemble import Ensemble
        from medseg.runtime.device import channels_last

        plan = self.manifest.plan
        self.check_installed()
        if self.manifest.chain is not None or not self.manifest.weights.file.endswith(SAFETENSORS):
            return self._foreign_network()
        classes = plan.outputs(self.manifest.labels)
        if self.folds:
            givens = {fold_name(number): copy.deepcopy(given) for number in self.folds}
            network: nn.Module = Ensemble(
                {name: build_network(plan, classes=classes, given=g) for name, g in givens.items()}
            )
        else:
            network = build_network(plan, classes=classes, given=given)
        self.load_weights(network)
        network.requires_grad_(requires_grad=False)
        return channels_last(network.eval())

    def _foreign_network(self) -> nn.Module:
        """The network as another program has it: no image is padded for it."""
        from medseg.model_package.foreign_network import build_foreign

        network = build_foreign(self.manifest, self._verified())
        if self.manifest.weights.file.endswith(SAFETENSORS):
            self.load_weights(network)
        for weight in network.parameters():  # a script has no requires_grad_ of its own
            weight.requires_grad = False
        return network.eval()

    def load_weights(self, network: nn.Module) -> None:
        """Give a network, made by this model's plan, the weights; of several folds, an ensemble.

        Raises
        ------
        PackageError
            When they are missing, altered, or do not fit.
        """
        from safetensors.torch import load

        prefix = "" if self.fold is None else f"{fold_name(self.fold)}."
        weights = {
            name.removeprefix(prefix): value.float()
            for name, value in load(self._verified()).items()
            if name.startswith(prefix)
        }
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise PackageError(
                f"weights of '{self.folder}' do not fit its plan: {reason}"
            ) from error

    def check_installed(self) -> None:
        """Refuse a model whose parts come from a package that is not installed.

        Raises
        ------
        PackageError
            When one is missing; the message says which, and how to install it.
        """
        check_installed(self.manifest.requires, model=self.manifest.name)

    def _verified(self) -> bytes:
        """Bytes of the weights file, after its digest was found to be the manifest's."""
        if self.data is not None:
            return self.data
        weights = self.manifest.weights
        path = self.folder / Path(weights.file).name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PackageError(f"cannot read the weights '{path}': {error.strerror}") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != weights.sha256:
            raise PackageError(
                f"weights '{path}' have SHA-256 {digest[:12]}..., the manifest says"
                f" {weights.sha256[:12] or '(none)'}...: the file was altered or damaged; copy or"
                " train the model again",
                code="CHECKSUM",
            )
        return data


def weights_of(network: nn.Module, *, exact: bool = False) -> bytes:
    """A network's weights as safetensors.

    Parameters
    ----------
    network : torch.nn.Module
    exact : bool, default False
        Whether they keep their number format; else float16 where that is exact enough.
    """
    from safetensors.torch import save

    def kept(value: torch.Tensor) -> torch.Tensor:
        return value.detach().cpu().contiguous() if exact else _stored(value)

    data: bytes = save({name: kept(value) for name, value in network.state_dict().items()})
    return data


def round_as_stored(network: nn.Module) -> None:
    """Give a network the weights that it has when it is read from a package again.

    Parameters
    ----------
    network : torch.nn.Module
        Its weights are rounded in place.
    """
    import torch

    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(_stored(value))


def save_package(
    folder: Path,
    manifest: Manifest,
    network: nn.Module | None,
    *,
    exact: bool = False,
    inner: Mapping[str, Path] | None = None,
) -> ModelPackage:
    """Write a package; `folder` appears whole or not at all.

    Parameters
    ----------
    folder : Path
        Where to; replaced when it is a package already.
    manifest : Manifest
        Its ``weights`` and ``requires`` are filled in here.
    network : torch.nn.Module
        An `Ensemble` where the manifest has folds. Weights are stored as float16 (half the size);
        see docs/concepts/model-package.md. None where others inside answer together.
    exact : bool, default False
        Whether weights keep their number format.
    inner : mapping of str to Path, optional
        Folders of finished packages, which are moved into this one, by the names of subfolders that
        the manifest gives them.

    Raises
    ------
    WriteError
        When the folder cannot be written, or is there and no package.
    """
    weights = b"" if network is None else weights_of(network, exact=exact)
    return _save(folder, manifest, weights, inner or {})


def save_foreign(
    package: ModelPackage, folder: Path, *, inner: Mapping[str, Path] | None = None
) -> ModelPackage:
    """Write a model that was read from another program's files as a package, weights unchanged.

    Parameters
    ----------
    package : ModelPackage
    folder : Path
    inner : mapping of str to Path, optional
        As for :func:`save_package`.

    Raises
    ------
    WriteError
        As :func:`save_package`.
    """
    data = package._verified()  # noqa: SLF001 - of this module
    return _save(folder, package.manifest, data, inner or {})


def _save(
    folder: Path, manifest: Manifest, weights: bytes, inner: Mapping[str, Path]
) -> ModelPackage:
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise WriteError(f"'{folder}' exists and is no model package; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".medseg-", dir=folder.parent) as scratch:
            temporary = Path(scratch) / "package"
            temporary.mkdir()
            digests = {name: _digest(path) for name, path in inner.items()}
            for name, path in inner.items():
                shutil.move(path, temporary / name)
            _fill(temporary, msgspec.structs.replace(manifest, digests=digests), weights)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)  # noqa: PTH105 - the atomic call, by its name
    except OSError as error:
        raise WriteError(f"cannot write the model to '{folder}': {reason(error)}") from error
    return ModelPackage.open(folder)


def _fill(folder: Path, manifest: Manifest, weights: bytes) -> None:
    complete = msgspec.structs.replace(
        manifest,
        weights=Weights(file=manifest.weights.file, sha256=hashlib.sha256(weights).hexdigest()),
        requires=requirements_of(manifest.plan, manifest.postprocessing),
    )
    if complete.weights.file:
        (folder / complete.weights.file).write_bytes(weights)
    (folder / MANIFEST).write_bytes(encode(complete))
    (folder / "README.md").write_text(card_text(complete), encoding="utf-8")


def _digest(folder: Path) -> str:
    """SHA-256 of a package's manifest, which holds the digests of all that it is made of."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _stored(value: torch.Tensor) -> torch.Tensor:
    """float16 where that is exact enough (relative error below 1/2048), else as it is."""
    import torch

    tensor = value.detach().cpu().contiguous()
    if not tensor.is_floating_point() or (tensor.numel() and tensor.abs().max() > 6e4):
        return tensor
    return tensor.to(torch.float16)
