"""Weights of labels in the cross-entropy: named by a person, or by their share of the voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import structs

from medseg.errors import LabelError, PlanError
from medseg.losses import check_takes_weights
from medseg.planning import Component, Plan
from medseg.training.case_facts import CaseFacts
from medseg.training.options import TrainingOptions
from medseg.volume import LabelTable

SETTING, BACKGROUND = "class_weights", "background"
OFFSET = 1.02
"""Keeps the largest weight of ``auto`` at 50."""


def check_class_weights(
    options: TrainingOptions, labels: LabelTable, *, loss: str, has_regions: bool
) -> None:
    """Refuse class weights that cannot be taken, before anything is made.

    Raises
    ------
    PlanError
        When the loss takes none, or labels hold one another.
    LabelError
        When one is of no label.
    """
    if options.class_weights is None:
        return
    check_takes_weights(loss)
    if has_regions:
        raise PlanError(
            "class weights need labels that exclude each other, and this dataset has regions; leave"
            " --class-weights out"
        )
    if isinstance(options.class_weights, dict):
        names = (BACKGROUND, *labels.names)
        for name in options.class_weights:
            if name not in names:
                raise LabelError(
                    f"a class weight is of '{name}', which is no label; there are:"
                    f" {', '.join(names)}"
                )


def with_class_weights(
    plan: Plan, options: TrainingOptions, labels: LabelTable, cases: Sequence[CaseFacts]
) -> Plan:
    """The plan, its loss weighted as the options say.

    Parameters
    ----------
    plan : Plan
    options : TrainingOptions
    labels : LabelTable
        That are learnt.
    cases : sequence of CaseFacts
        That are trained on; their volumes decide, for ``auto``.
    """
    asked = options.class_weights
    if asked is None:
        return plan
    weights = (
        balanced(class_volumes(cases, labels))
        if asked == "auto"
        else tuple(asked.get(name, 1.0) for name in (BACKGROUND, *labels.names))
    )
    settings = {**plan.loss.settings, SETTING: list(weights)}
    return structs.replace(plan, loss=Component(name=plan.loss.name, settings=settings))


def weights_sentence(plan: Plan, labels: LabelTable) -> str:
    """The weights of a plan's loss, by name, for a person; empty where it has none."""
    weights = plan.loss.settings.get(SETTING, ())
    named = zip((BACKGROUND, *labels.names), weights, strict=False)
    pairs = ", ".join(f"{name} {weight:g}" for name, weight in named)
    return f"Class weights in the cross-entropy: {pairs}." if pairs else ""


def class_volumes(cases: Sequence[CaseFacts], labels: LabelTable) -> tuple[float, ...]:
    """Volume of the background and of each label over all cases, in ml."""
    whole = sum(math.prod(case.shape) * case.grid.voxel_volume_mm3 / 1000 for case in cases)
    volumes = [sum(case.volumes_ml[name] for case in cases) for name in labels.names]
    return (whole - sum(volumes), *volumes)


def balanced(volumes: Sequence[float]) -> tuple[float, ...]:
    """Weights of classes by their volumes, from 1.4 of one that is everywhere to 50.

    Notes
    -----
    ``1 / ln(1.02 + p)``, p being the class's share of the whole (ENet: Paszke et al.,
    arXiv:1606.02147, 2016). Bounded, unlike the inverse of p: a label of ten voxels in a million
    would outweigh all else.
    """
    whole = sum(volumes)
    return tuple(round(1 / math.log(OFFSET + volume / whole), 4) for volume in volumes)
