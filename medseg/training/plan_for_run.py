"""The plan that a run makes for its dataset, its options and its device."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from medseg.augmentation import build_augmentation
from medseg.errors import PlanError
from medseg.losses import loss_choice
from medseg.networks import load_part, suggestion
from medseg.planning import (
    Component,
    Fingerprint,
    Plan,
    Stages,
    augmentation_preset,
    make_plan,
)
from medseg.planning.planner import CPU_BUDGET, GPU_BUDGET
from medseg.planning.regions import class_regions
from medseg.runtime.device import Device
from medseg.training.dataset import Dataset
from medseg.training.options import LOSS, NETWORK, TrainingOptions
from medseg.training.own_parts import OwnParts

DEEP_SUPERVISION = "deep_supervision"


def plan_for(
    dataset: Dataset,
    fingerprint: Fingerprint,
    options: TrainingOptions,
    own: OwnParts,
    device: Device,
) -> Plan:
    """Plan a training.

    Parameters
    ----------
    dataset : Dataset
    fingerprint : Fingerprint
        Of the cases to train on.
    options : TrainingOptions
    own : OwnParts
        Of Python.
    device : Device
        What a step may cost depends on it.
    """
    kind = device.torch_device.type
    budget, recipe = CPU_BUDGET if kind == "cpu" else GPU_BUDGET, options.recipe_on(kind)
    plan = make_plan(
        fingerprint,
        budget=budget.wider(recipe.width),
        network=_network_choice(options, own),
        labels=dataset.labels,
        plane=options.plane,
        augmentation=options.augmentation or recipe.augmentation,
    )
    regions = class_regions(dataset.regions)
    plan = structs.replace(
        plan,
        batch=options.batch or plan.batch,
        loss=loss_choice(options.loss or LOSS, regions=regions),
        regions=regions,
    )
    return own.planned(plan, classes=plan.outputs(dataset.labels))


def with_options(plan: Plan, options: TrainingOptions, *, modality: str) -> Plan:
    """A plan that was given, with the batch and augmentation asked for; refused now if wrong.

    Parameters
    ----------
    plan : Plan
    options : TrainingOptions
    modality : str
        Of the dataset.

    Raises
    ------
    PlanError
        When an augmentation is none, or the plan is one of a cascade.
    """
    if plan.previous_labels:
        raise PlanError(
            f"the plan's network takes {plan.previous_labels} labels of one before as input, and"
            " medseg trains none of that kind; train by the plan of the network before",
            code="PREVIOUS",
        )
    if options.augmentation is not None:
        preset = augmentation_preset(options.augmentation, modality=modality)
        plan = structs.replace(plan, augmentation=preset)
    build_augmentation(plan)
    return structs.replace(plan, batch=options.batch or plan.batch)


def _network_choice(options: TrainingOptions, own: OwnParts) -> Callable[[Stages], Component]:
    """How the plan's network comes about; one of Python is there already."""
    name = options.network or NETWORK
    if own.network is not None:
        return lambda _: Component(name=name)
    settings = options.settings
    if not options.recipe_on().deep_supervision and _can_supervise(name):
        settings = {DEEP_SUPERVISION: False, **settings}
    return suggestion(name, settings)


def _can_supervise(name: str) -> bool:
    """Whether a network has the setting `deep_supervision`."""
    return DEEP_SUPERVISION in load_part(name).Settings.__struct_fields__
