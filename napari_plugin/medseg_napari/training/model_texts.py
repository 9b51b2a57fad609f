"""Models in lists: name and score."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.model_package import ModelPackage


def model_text(package: ModelPackage) -> str:
    """Name and mean Dice of a model, such as ``"hippocampus-mr (Dice 0.88)"``."""
    score = package.manifest.mean_dice
    name = package.manifest.name
    return name if score is None else f"{name} (Dice {score:.2f})"
