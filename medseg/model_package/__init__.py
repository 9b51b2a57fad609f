"""Model packages: one folder with a manifest and weights, verified before use."""

from medseg.model_package.exporting import Exported, export_model
from medseg.model_package.interop.kept import stored_packages
from medseg.model_package.manifest import Card, Manifest
from medseg.model_package.monai_bundle import export_bundle
from medseg.model_package.package import ModelPackage, round_as_stored, save_package
from medseg.model_package.store import find_package, import_model, shipped_packages

__all__ = [
    "Card",
    "Exported",
    "Manifest",
    "ModelPackage",
    "export_bundle",
    "export_model",
    "find_package",
    "import_model",
    "round_as_stored",
    "save_package",
    "shipped_packages",
    "stored_packages",
]
