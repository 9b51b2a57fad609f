"""A tiny untrained model that segments a small scan in a fraction of a second."""

from __future__ import annotations

from pathlib import Path

from medseg.model_package import Card, Manifest, ModelPackage, save_package
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.phantoms import ABDOMEN_LABELS
from medseg.planning import Component, Normalisation, Plan


def tiny_model(
    folder: Path, *, name: str = "tiny", channels: tuple[str, ...] = ("CT",)
) -> ModelPackage:
    """Write the model into a folder that is to be made."""
    rule = Normalisation(scheme="clip_zscore", low=-200, high=300, std=100)
    plan = Plan(
        spacing_mm=(12.0, 12.0, 12.0),
        channels=channels,
        patch=(16, 16, 16),
        batch=1,
        normalisation=(rule,) * len(channels),
        network=Component(
            name="unet",
            settings={
                "features": [4, 8],
                "strides": [[1, 1, 1], [2, 2, 2]],
                "kernels": [[3, 3, 3], [3, 3, 3]],
            },
        ),
    )
    manifest = Manifest(
        name=name,
        plan=plan,
        labels=ABDOMEN_LABELS,
        weights=UNSAVED,
        card=Card(summary="For tests.", modality="CT", licence="CC0"),
        scores={"liver": 0.5, "foreground": 0.25},
    )
    network = build_network(plan, classes=len(ABDOMEN_LABELS) + 1)
    return save_package(folder, manifest, network)
