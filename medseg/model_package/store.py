"""Where packages are found: by the name of a shipped or imported model, or by folder."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import msgspec

from medseg.errors import PackageError, WriteError, reason
from medseg.model_package.interop import deepbet, nnunet, read_foreign
from medseg.model_package.interop.kept import models_folder, stored_folder, stored_packages
from medseg.model_package.interop.nnunet.options import ImportOptions
from medseg.model_package.package import MANIFEST, ModelPackage, save_foreign
from medseg.runtime.progress import Progress, silent

SHIPPED = Path(__file__).parent / "shipped"


def shipped_packages() -> list[ModelPackage]:
    """The models inside this installation, by name."""
    folders = sorted(path.parent for path in SHIPPED.glob(f"*/{MANIFEST}"))
    return [ModelPackage.open(folder) for folder in folders]


def installed_folder(name: str) -> Path | None:
    """The folder of a model that an installed package brings; None where `name` names none.

    Raises
    ------
    PackageError
        When the package is not installed.
    """
    if name != deepbet.NAME:
        return None
    folder = deepbet.installed()
    if folder is None:
        raise PackageError(
            f"the model '{name}' comes with the package deepbet, which is not installed; run"
            " pip install 'medseg[brain]'",
            code="NOT_INSTALLED",
        )
    return folder


def find_package(name_or_folder: str | Path) -> ModelPackage:
    """The shipped or imported model of that name, or the package in that folder.

    Parameters
    ----------
    name_or_folder : str or Path
        Such as ``"hippocampus-mr"`` or ``"runs/liver/model"``. A training run's folder serves
        too when it holds a finished model, and so do the formats of
        :mod:`medseg.model_package.interop`.

    Raises
    ------
    PackageError
        When there is neither; the message lists the names.
    """
    shipped = {package.manifest.name: package for package in shipped_packages()}
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    folder = installed_folder(str(name_or_folder)) or Path(name_or_folder)
    for candidate in (folder, folder / "model", models_folder() / folder):
        if (candidate / MANIFEST).is_file():
            return ModelPackage.open(candidate)
    foreign = read_foreign(folder)
    if foreign is not None:
        return foreign
    own = (package.manifest.name for package in stored_packages())
    listing = ", ".join([*shipped, deepbet.NAME, *own])
    raise PackageError(
        f"no model '{name_or_folder}': it is neither a shipped model nor one of yours ({listing}),"
        f" nor a folder with a {MANIFEST}, nor a model of a program that medseg knows",
        code="UNKNOWN_MODEL",
    )


def import_model(
    path: Path, options: ImportOptions | None = None, *, progress: Progress = silent
) -> ModelPackage:
    """Make another program's model one of yours, which is found by its name from now on.

    Parameters
    ----------
    path : Path
        Of a format of :mod:`medseg.model_package.interop`, or a package of medseg.
    options : ImportOptions, optional
        Its name, and what is chosen of a folder of nnU-Net.
    progress : Progress, optional
        May raise `Cancelled`.

    Raises
    ------
    PackageError
        When it cannot be used, or there is a model of this name.
    ReadError
        When an archive is damaged or unsafe.
    WriteError
        When it cannot be written; nothing is left behind then.
    """
    options = options or ImportOptions()
    if options.name:
        _check_free(stored_folder(options.name))
    store = models_folder()
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".medseg-", dir=store) as scratch:
            made = _imported(path, Path(scratch) / "model", options, progress)
            folder = stored_folder(options.name or made.manifest.name)
            _check_free(folder)
            os.replace(made.folder, folder)  # noqa: PTH105 - the atomic call, by its name
    except OSError as error:
        raise WriteError(f"cannot write the model to '{store}': {reason(error)}") from error
    return ModelPackage.open(folder)


def _imported(path: Path, folder: Path, options: ImportOptions, progress: Progress) -> ModelPackage:
    from medseg.model_package.interop.nnunet.importing import import_nnunet

    if path.exists() and nnunet.recognises(path):
        return import_nnunet(path, folder, options, progress=progress)
    package = find_package(path)
    name = options.name or package.manifest.name
    manifest = msgspec.structs.replace(package.manifest, name=name)
    return save_foreign(dataclasses.replace(package, manifest=manifest), folder)


def _check_free(folder: Path) -> None:
    if folder.exists():
        raise PackageError(
            f"there is a model '{folder.name}' in '{folder.parent}'; give another --name, or remove"
            " its folder",
            code="NAME",
        )
