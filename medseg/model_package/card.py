"""The model card a person reads, written from the manifest."""

from __future__ import annotations

from medseg.model_package.manifest import Manifest
from medseg.runtime.class_parts import GIVEN, is_given

FOLDS_SENTENCE = (
    "Each fold's network is scored on the cases that it did not see; above is the mean over folds."
    " All networks together, as the model predicts, have seen every case, so they have no score"
    " here."
)


def card_text(manifest: Manifest) -> str:
    """Markdown of the package's README."""
    card = manifest.card
    sections = [
        ("Data", card.data),
        ("Intended use", card.intended_use),
        ("Limits", card.limits),
        ("Licence of the weights", card.licence),
        ("Attribution", card.attribution),
    ]
    lines = [f"# {manifest.name}, version {manifest.version}", "", card.summary, ""]
    lines += ["| value | label |", "|---|---|"]
    lines += [f"| {label.value} | {label.name} |" for label in manifest.labels]
    if manifest.scores:
        lines += [
            "",
            "## Measured mean Dice on held-out cases",
            "",
            "| label | Dice |",
            "|---|---|",
        ]
        lines += [f"| {name} | {dice:.4f} |" for name, dice in manifest.scores.items()]
    lines += _folds(manifest)
    for title, text in sections:
        if text:
            lines += ["", f"## {title}", "", text]
    needs = _needs(manifest)
    if needs:
        lines += ["", "## Needs", "", *needs]
    if manifest.provenance:
        lines += ["", "## Provenance", ""]
        lines += [f"- {name}: {value}" for name, value in manifest.provenance.items()]
    return "\n".join(lines) + "\n"


def _folds(manifest: Manifest) -> list[str]:
    """The scores of each fold's network, where there are several."""
    if not manifest.folds:
        return []
    names = list(manifest.scores)
    rows = [
        f"| {fold.number} | {fold.cases} | "
        + " | ".join(f"{fold.scores[name]:.4f}" if name in fold.scores else "-" for name in names)
        + " |"
        for fold in manifest.folds
    ]
    return [
        "",
        FOLDS_SENTENCE,
        "",
        f"| fold | cases | {' | '.join(names)} |",
        "|---" * (len(names) + 2) + "|",
        *rows,
    ]


def _needs(manifest: Manifest) -> list[str]:
    """What the model does not bring with it, one line each."""
    plan = manifest.plan
    lines = [
        f"- the package {need.distribution} {need.version}: {need.part} ({need.path})"
        for need in manifest.requires
    ]
    if is_given(plan.network.name):
        lines.append(
            f"- the network {plan.network.name.removeprefix(GIVEN)}, an object of Python:"
            " `Predictor.load(folder, network=...)`"
        )
    if plan.transforms:
        lines.append(
            f"- the transforms {', '.join(plan.transforms)}:"
            " `Predictor.load(folder, transforms=...)`"
        )
    return lines
