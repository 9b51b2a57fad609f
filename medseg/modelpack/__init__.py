"""Model packages: one folder with a manifest and weights, verified before use."""

from medseg.modelpack.exporting import Exported, export_model
from medseg.modelpack.manifest import Card, Manifest
from medseg.modelpack.package import ModelPackage, save_package
from medseg.modelpack.store import find_package, shipped_packages

__all__ = [
    "Card",
    "Exported",
    "Manifest",
    "ModelPackage",
    "export_model",
    "find_package",
    "save_package",
    "shipped_packages",
]
