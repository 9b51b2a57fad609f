"""What a person chooses about a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import structs

from medseg.errors import InputError, PlanError
from medseg.losses import loss_choice
from medseg.planning import Plan, Plane
from medseg.planning.presets import Preset as AugmentationPreset
from medseg.training.recipe import Preset, Recipe, recipe_for

NETWORK, LOSS = "unet", "dice_ce"
"""Of a plan that is made for the run, where nobody says otherwise."""
LENGTHS = ("steps", "epochs", "minutes")
"""Options that each say how long a run is."""


class TrainingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Choices of a run; stored with it, so that resuming needs none.

    Parameters
    ----------
    steps : int or None
        Optimiser steps. None: as `epochs` or `minutes` say, or 2,000.
    epochs : int or None
        Length in epochs: in one, each case is drawn once on average; see :func:`epoch_steps`.
    minutes : float or None
        Time for training and validation; the number of steps is then set from the speed of the
        first ones. What comes before the first step, and packing, come on top.
    batch : int or None
        Patches in a step, in place of the plan's.
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
        the recipe's where it is made for this run.
    postprocess : bool
        Whether steps after the network are chosen on held-out cases; see
        :mod:`medseg.training.postprocessing_fit`. Needs a fold.
    seed : int
        Of initial weights, sampling and augmentation.
    device : str
    name : str or None
        Of the model; the dataset's when None.
    learning_rate : float or None
        At its peak, in place of the recipe's.
    validations : int
        How often held-out cases are segmented on the way, the end included; with `minutes` fewer
        times where it is slow.
    early_stop : int or None
        The training ends after so many validations in a row without a better mean Dice.
    checkpoint : {"auto", "best", "last"}
        What is packed: the last step, or the one whose mean Dice was the best on the way. ``auto``
        is the best with `early_stop`, else the last, whose score nobody chose.
    oversample : float or {"auto", "off"}
        Share of the patches that are centred on a voxel of a label, each label being drawn as often
        as any other, however rare (nnU-Net's ``oversample_foreground_percent``). ``auto`` is
        the recipe's; ``off`` is 0: all patches from anywhere.
    class_weights : dict of str to float or "auto" or None
        Weights of labels in the cross-entropy, in place of the plan's; the background's is called
        ``background``, and a label without one has 1. ``auto``: by their share of the voxels, see
        :mod:`medseg.training.class_weights`.
    preset : {"quick", "standard", "best"}
        Which recipe: the rest of what a training does, by the run's length and device.
    gpu_memory : int or None
        Most bytes of a GPU that the run may take; nothing on a CPU.
    recipe : Recipe or None
        In place of the preset's; a run that has begun holds the one it goes by.
    """

    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    batch: int | None = None
    fold: int | None = 0
    network: str | None = None
    settings: dict[str, Any] = {}
    plane: Plane | None = None
    pretrained: str | None = None
    inflate: bool = False
    start: str | None = None
    loss: str | None = None
    augmentation: AugmentationPreset | None = None
    postprocess: bool = False
    seed: int = 0
    device: str = "auto"
    name: str | None = None
    learning_rate: float | None = None
    validations: int = 10
    early_stop: int | None = None
    checkpoint: Literal["auto", "best", "last"] = "auto"
    oversample: float | Literal["auto", "off"] = "auto"
    class_weights: dict[str, float] | Literal["auto"] | None = None
    preset: Preset = "standard"
    gpu_memory: int | None = None
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        if self.loss is not None:
            loss_choice(self.loss)
        for name in ("steps", "epochs", "batch", "early_stop", "gpu_memory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', '-')} must be at least 1, got {value}")
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}")
        for name in ("minutes", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name.replace('_', ' ')} must be positive, got {value:g}")
        if self.start is not None and self.pretrained is not None:
            raise InputError(
                f"a run starts from the model '{self.start}' or from the weights"
                f" '{self.pretrained}', not from both; leave one out"
            )
        self._check_measured()
        self._check_shares()

    def _check_measured(self) -> None:
        """Refuse what needs held-out cases where none are looked at."""
        if self.postprocess and self.fold is None:
            raise InputError(
                "steps after the network are chosen on held-out cases, and training on all leaves"
                " none; name a fold"
            )
        if self.checkpoint == "best" or self.early_stop:
            asked = f"--early-stop {self.early_stop}" if self.early_stop else "--checkpoint best"
            if self.fold is None:
                raise InputError(
                    f"{asked} goes by held-out cases, and training on all leaves none; name a"
                    " fold, or leave it out"
                )
            if self.validations < 1:
                raise InputError(
                    f"{asked} goes by validations on the way, and there are"
                    f" {self.validations}; ask for at least 1, or leave it out"
                )

    def _check_shares(self) -> None:
        """Refuse shares and weights that are none."""
        if isinstance(self.oversample, float) and not 0 <= self.oversample <= 1:
            raise InputError(
                f"oversample must be auto, off, or a share from 0 to 1, got {self.oversample:g}"
            )
        weights = self.class_weights if isinstance(self.class_weights, dict) else {}
        for name, weight in weights.items():
            if not 0 < weight < math.inf:
                raise InputError(f"the class weight of '{name}' must be positive, got {weight:g}")

    def recipe_on(self, device: str | None = None) -> Recipe:
        """The recipe: that of the run, or the preset's for its length and a kind of device."""
        return self.recipe or recipe_for(
            self.preset, minutes=self.minutes, steps=self.steps, device=device
        )

    @property
    def peak_rate(self) -> float:
        """The learning rate at its peak."""
        recipe = self.recipe_on()
        default = recipe.learning_rate if self.start is None else recipe.fine_tuning_rate
        return self.learning_rate or default

    @property
    def foreground_share(self) -> float:
        """Share of the patches that are centred on a label."""
        named = {"auto": self.recipe_on().foreground_share, "off": 0.0}
        return named[self.oversample] if isinstance(self.oversample, str) else self.oversample

    @property
    def packs_best(self) -> bool:
        """Whether the best checkpoint becomes the model."""
        return self.checkpoint == "best" or (self.checkpoint == "auto" and bool(self.early_stop))

    def total_steps(self, *, cases: int, batch: int) -> int | None:
        """Optimiser steps in all; None where minutes, or nobody, say how long.

        Parameters
        ----------
        cases : int
            That are trained on.
        batch : int
            Patches in a step.
        """
        if self.steps is not None or self.epochs is None:
            return self.steps
        return self.epochs * epoch_steps(cases=cases, batch=batch)

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


def epoch_steps(*, cases: int, batch: int) -> int:
    """Steps of one epoch: as many as draw each case once on average, rounded up.

    Patches are drawn at random, so an epoch is a length and no round through the cases; nnU-Net's
    has 250 steps, however many cases there are.
    """
    return -(-cases // batch)


def check_one_length(given: Mapping[str, Any]) -> None:
    """Refuse options of which one would go unheard.

    Parameters
    ----------
    given : mapping of str to object
        Options by name.

    Raises
    ------
    InputError
        When more than one says how long a run is.
    """
    lengths = [f"--{name} {given[name]:g}" for name in LENGTHS if given.get(name) is not None]
    if len(lengths) > 1:
        raise InputError(
            f"{' and '.join(lengths)} each say how long the training is; give one of them",
            code="TWO_LENGTHS",
        )
