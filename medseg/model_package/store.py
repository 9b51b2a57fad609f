"""Where packages are found: by the name of a shipped model, or by folder."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import PackageError
from medseg.model_package.interop import deepbet, read_foreign
from medseg.model_package.package import MANIFEST, ModelPackage

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
    """The shipped model of that name, or the package in that folder.

    Parameters
    ----------
    name_or_folder : str or Path
        Such as ``"hippocampus-mr"`` or ``"runs/liver/model"``. A training run's folder serves
        too when it holds a finished model, and so do the formats of
        :mod:`medseg.model_package.interop`.

    Raises
    ------
    PackageError
        When there is neither; the message lists the shipped names.
    """
    shipped = {package.manifest.name: package for package in shipped_packages()}
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    folder = installed_folder(str(name_or_folder)) or Path(name_or_folder)
    for candidate in (folder, folder / "model"):
        if (candidate / MANIFEST).is_file():
            return ModelPackage.open(candidate)
    foreign = read_foreign(folder)
    if foreign is not None:
        return foreign
    listing = ", ".join((*shipped, deepbet.NAME))
    raise PackageError(
        f"no model '{name_or_folder}': it is neither a shipped model ({listing}), nor a folder with"
        f" a {MANIFEST}, nor a model of a program that medseg knows",
        code="UNKNOWN_MODEL",
    )
