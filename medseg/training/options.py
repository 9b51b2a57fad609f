"""What a person chooses about a training run."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import structs

from medseg.errors import InputError, PlanError
from medseg.losses import loss_choice
from medseg.planning import Plan, Plane
from medseg.planning.presets import Preset

NETWORK, LOSS = "unet", "dice_ce"
"""Of a plan that is made for the run, where nobody says otherwise."""
LEARNING_RATE = 2e-3
"""Peak of a run that starts from random weights."""
FINE_TUNING_RATE = 5e-4
"""Peak of a run that starts from a model: what it knows is not washed away."""


class TrainingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Choices of a run; stored with it, so that resuming needs none.

    Parameters
    ----------
    steps : int or None
        Optimiser steps. None: as many as fit in `minutes`, or 2,000.
    minutes : float or None
        Time for training; the number of steps is then set from the speed of the first ones.
    fold : int or None
        Held-out fold; None trains on every case and measures nothing.
    network : str or None
        None: as the plan says, which is `NETWORK` where it is made for this run.
    settings : dict
        Settings of the network in place of those suggested; dots reach into structures
        (``{"encoder.name": "resnet50"}``).
    plane : {"axial", "coronal", "sagittal"} or None
        Train a 2-D network on the slices of volumes; see :class:`medseg.planning.Plan`.
    pretrained : str or None
        File of weights for the network's encoder; see :mod:`medseg.training.pretrained`.
    inflate : bool
        Whether 2-D weights of that file may become 3-D ones.
    start : str or None
        Folder or name of a model whose weights, plan and labels the run starts from; the plan
        says the network then, and what `network`, `settings`, `plane` and `loss` say otherwise is
        refused.
    loss : str or None
        None: as the plan says, which is `LOSS` where it is made for this run.
    augmentation : {"none", "light", "standard", "strong"} or None
        Random changes of training patches, in place of the plan's. None: as the plan says, which is
        ``standard`` where it is made for this run.
    postprocess : bool
        Whether steps after the network are chosen on held-out cases; see
        :mod:`medseg.training.postprocessing_fit`. Needs a fold.
    seed : int
        Of initial weights, sampling and augmentation.
    device : str
    name : str or None
        Of the model; the dataset's when None.
    learning_rate : float or None
        At its peak. None: `LEARNING_RATE`, or `FINE_TUNING_RATE` with `start`.
    validations : int
        How often held-out cases are segmented on the way.
    """

    steps: int | None = None
    minutes: float | None = None
    fold: int | None = 0
    network: str | None = None
    settings: dict[str, Any] = {}
    plane: Plane | None = None
    pretrained: str | None = None
    inflate: bool = False
    start: str | None = None
    loss: str | None = None
    augmentation: Preset | None = None
    postprocess: bool = False
    seed: int = 0
    device: str = "auto"
    name: str | None = None
    learning_rate: float | None = None
    validations: int = 10

    def __post_init__(self) -> None:
        if self.loss is not None:
            loss_choice(self.loss)
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes must be positive, got {self.minutes:g}")
        if self.postprocess and self.fold is None:
            raise InputError(
                "steps after the network are chosen on held-out cases, and training on all leaves"
                " none; name a fold"
            )
        if self.start is not None and self.pretrained is not None:
            raise InputError(
                f"a run starts from the model '{self.start}' or from the weights"
                f" '{self.pretrained}', not from both; leave one out"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"the learning rate must be positive, got {self.learning_rate:g}")

    @property
    def peak_rate(self) -> float:
        """The learning rate at its peak."""
        default = LEARNING_RATE if self.start is None else FINE_TUNING_RATE
        return self.learning_rate or default

    def by(self, plan: Plan | None) -> TrainingOptions:
        """These options with what a plan says of the network and the loss.

        Parameters
        ----------
        plan : Plan or None
            None: one will be made by these options.

        Raises
        ------
        PlanError
            When the plan says otherwise than was asked for.
        """
        if plan is None:
            return structs.replace(self, network=self.network or NETWORK, loss=self.loss or LOSS)
        planned: dict[str, Any] = {
            "network": plan.network.name,
            "settings": plan.network.settings,
            "plane": plan.plane,
            "loss": plan.loss.name,
        }
        asked = {name: getattr(self, name) for name in planned if getattr(self, name)}
        others = [name for name, value in asked.items() if value != planned[name]]
        if others:
            ours = ", ".join(f"{name} {planned[name] or '(none)'}" for name in others)
            raise PlanError(
                f"the plan says {ours}, and {', '.join(f'{n} {asked[n]}' for n in others)} was"
                " asked for; change the plan, or leave the plan or these options out",
                code="PLAN_SAYS",
            )
        return structs.replace(self, **planned)
