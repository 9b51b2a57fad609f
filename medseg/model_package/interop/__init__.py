"""Models of other programs: their folders read as they lie, none of their code run.

A format is a module of this package, named in `FORMATS`, with two functions:

``recognises(path: Path) -> bool``
    Whether an existing file or folder is of the format; looks at names, decodes nothing.
``read(path: Path) -> ModelPackage``
    The model, its weights in memory (``ModelPackage.data``), its folder the path that was given.
    Raises `PackageError` for what is damaged, unsafe or unknown; names the file.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from medseg.model_package.package import ModelPackage

FORMATS: tuple[str, ...] = ("nnunet", "monai_bundle", "deepbet", "bioimageio", "sidecar")
"""Modules, in the order of asking."""


def read_foreign(path: Path) -> ModelPackage | None:
    """The model of another program at a path; None when it is of no known format.

    Raises
    ------
    PackageError
        When it is of one and cannot be used.
    """
    for name in FORMATS:
        form = importlib.import_module(f"{__name__}.{name}")
        if path.exists() and form.recognises(path):
            package: ModelPackage = form.read(path)
            return package
    return None
