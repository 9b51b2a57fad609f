"""What a trained model says of itself."""

from __future__ import annotations

import torch
from msgspec import structs

from medseg._version import __version__
from medseg.model_package import Card, Manifest
from medseg.model_package.package import UNSAVED
from medseg.planning import Plan
from medseg.training.dataset import Dataset
from medseg.training.options import TrainingOptions
from medseg.training.postprocessing_search import PostprocessingChoice


def postprocessed(manifest: Manifest, choice: PostprocessingChoice) -> Manifest:
    """The manifest with the steps that were chosen, and what they did."""
    facts = {
        "postprocessing": ", ".join(step.name for step in choice.postprocessing) or "no step helped"
    }
    if choice.dice_without is not None and choice.dice_with is not None:
        facts["postprocessing on other cases"] = (
            f"Dice {choice.dice_without:.4f} without, {choice.dice_with:.4f} with"
        )
    return structs.replace(
        manifest, postprocessing=choice.postprocessing, provenance={**manifest.provenance, **facts}
    )


def manifest_of(
    dataset: Dataset,
    plan: Plan,
    options: TrainingOptions,
    scores: dict[str, float],
    steps: int,
    cases: int,
) -> Manifest:
    """What the package says about itself."""
    name = options.name or dataset.name
    fold = "all cases" if options.fold is None else f"fold {options.fold}"
    return Manifest(
        name=name,
        plan=plan,
        labels=dataset.labels,
        card=Card(
            summary=f"Trained by medseg on {cases} cases of {dataset.name} ({fold}).",
            modality=dataset.modality,
        ),
        scores={label: round(dice, 5) for label, dice in scores.items()},
        provenance={
            "dataset": dataset.name,
            "cases": str(cases),
            "fold": fold,
            "steps": str(steps),
            "seed": str(options.seed),
            "medseg": __version__,
            "torch": str(torch.__version__),
        },
        weights=UNSAVED,
    )
