"""Where models of a person's own lie: imported by name, or kept by the digest of their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from medseg.errors import MedsegError, PackageError
from medseg.model_package.package import MANIFEST, ModelPackage

VARIABLE = "MEDSEG_MODELS"
"""Of the environment: another folder for models."""
_BY_DIGEST = ".by-digest"
_WAY = "1"
"""Of importing; another number makes kept models anew."""


def models_folder() -> Path:
    """Where imported models lie, whether it is there or not."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder else Path.home() / ".medseg" / "models"


def stored_packages() -> list[ModelPackage]:
    """The models that a person imported by name; those that are damaged are left out."""
    packages = []
    for manifest in sorted(models_folder().glob(f"*/{MANIFEST}")):
        try:
            packages.append(ModelPackage.open(manifest.parent))
        except MedsegError:
            continue
    return packages


def stored_folder(name: str) -> Path:
    """Where the model of a name lies, or is to lie.

    Raises
    ------
    PackageError
        When it is no name of a folder.
    """
    if not name.strip(". ") or Path(name).name != name or set(name) & {*'/\\:*?"<>|'}:
        raise PackageError(
            f"'{name}' cannot be the name of a model; take letters, digits and - _ .", code="NAME"
        )
    return models_folder() / name


def kept(
    path: Path, files: Sequence[Path], make: Callable[[Path, Path], ModelPackage]
) -> ModelPackage:
    """What `make` makes of a path, made once for files of this content.

    Parameters
    ----------
    path : Path
        A model of another program.
    files : sequence of Path
        All that it is made of.
    make : callable
        Takes the path and a folder for the package, and gives the package.
    """
    total = hashlib.sha256(_WAY.encode())
    for file in files:
        total.update(str(file.relative_to(path) if file != path else "").encode())
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    folder = models_folder() / _BY_DIGEST / total.hexdigest()[:24]
    if (folder / MANIFEST).is_file():
        return ModelPackage.open(folder)
    return make(path, folder)
