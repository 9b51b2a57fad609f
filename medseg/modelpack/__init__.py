"""Model packages: one folder with a manifest and weights, verified before use."""

from medseg.modelpack.manifest import Card, Manifest
from medseg.modelpack.package import ModelPackage, save_package
from medseg.modelpack.store import find_package, shipped_packages

__all__ = [
    "Card",
    "Manifest",
    "ModelPackage",
    "find_package",
    "save_package",
    "shipped_packages",
]
