"""What a training does besides the plan, as data: optimiser, schedule, averaging, drawing."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from medseg.errors import InputError
from medseg.planning.presets import Preset as AugmentationPreset

Preset = Literal["quick", "standard", "best"]
DEFAULT_STEPS = 2_000
"""Length of a training of which nobody says how long it is."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training does besides the plan.

    Parameters
    ----------
    optimizer : {"muon", "adamw", "sgd"}
        ``muon`` is :class:`medseg.training.muon.Muon`, whose rates are about ten times those of
        ``adamw``; ``sgd`` has Nesterov's momentum of `momentum`.
    learning_rate : float
        At its peak, in a run that starts from random weights.
    fine_tuning_rate : float
        At its peak, in a run that starts from a model: what it knows is not washed away.
    weight_decay, momentum : float
    schedule : {"poly", "cosine"}
        How the learning rate falls; see :mod:`medseg.training.schedule`.
    warm_up_steps : int
        Of its rise before.
    final_share : float
        Of the peak that is left at the last step.
    ema_decay : float or None
        Of the running mean of the weights that is measured and packed in their place; None: none.
    foreground_share : float
        Of the patches that are centred on a label.
    augmentation : {"none", "light", "standard", "strong"}
        Of a plan that is made for the run.
    deep_supervision : bool
        Whether a network that can is also taught at coarser levels, in a plan made for the run.
    width : float
        Of a network that is planned for the run: times the channels of the planner's budget.
    gradient_clip : float
        Largest norm of a gradient.
    """

    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    learning_rate: float = 2e-2
    fine_tuning_rate: float = 5e-3
    weight_decay: float = 1e-2
    momentum: float = 0.99
    schedule: Literal["poly", "cosine"] = "poly"
    warm_up_steps: int = 40
    final_share: float = 0.0
    ema_decay: float | None = None
    foreground_share: float = 0.5
    augmentation: AugmentationPreset = "standard"
    deep_supervision: bool = True
    width: float = 1.0
    gradient_clip: float = 12.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "fine_tuning_rate", "width", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} of a recipe must be positive, got {getattr(self, name)}")
        for name in ("final_share", "foreground_share", "ema_decay", "momentum"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise InputError(
                    f"{name} of a recipe must lie in 0..1, got {getattr(self, name):g}"
                )
        if self.weight_decay < 0 or self.warm_up_steps < 1:
            raise InputError(
                f"a recipe's weight_decay must not be negative and its warm_up_steps at least 1,"
                f" got {self.weight_decay:g} and {self.warm_up_steps}"
            )

    def sentence(self, peak: float) -> str:
        """What is done, for a person; `peak` is the learning rate that is gone by."""
        mean = f", mean of the weights {self.ema_decay:g}" if self.ema_decay else ""
        levels = "" if self.deep_supervision else ", no deep supervision"
        return f"{self.optimizer}, learning rate {peak:g}, {self.schedule} fall{mean}{levels}"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe, and for which trainings it is.

    Parameters
    ----------
    preset : {"quick", "standard", "best"}
    recipe : Recipe
    device : {"cpu", "cuda", "mps"} or None
        None: any.
    from_minutes : float
        Least length of a run that is given in minutes.
    from_steps : int
        Least length of any other.
    """

    preset: Preset
    recipe: Recipe
    device: Literal["cpu", "cuda", "mps"] | None = None
    from_minutes: float = 0.0
    from_steps: int = 0


TABLE = (
    # Few and mild changes of patches: a short training sees each structure as it is.
    Row(preset="quick", recipe=Recipe(augmentation="light")),
    # On a CPU the steps are what is short, and a narrow network has more of them.
    Row(preset="quick", device="cpu", recipe=Recipe(augmentation="light", width=0.5)),
    Row(preset="standard", recipe=Recipe()),
    Row(preset="standard", device="cpu", recipe=Recipe(width=0.5)),
    Row(preset="standard", device="cpu", recipe=Recipe(), from_minutes=5.0),
    # For long trainings: stronger changes, and the mean of the last weights.
    Row(preset="best", recipe=Recipe(augmentation="strong", ema_decay=0.999)),
)
"""Of the rows that fit a training, the last one holds."""


def recipe_for(
    preset: Preset,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    device: str | None = None,
) -> Recipe:
    """The recipe of a training.

    Parameters
    ----------
    preset : {"quick", "standard", "best"}
    minutes : float, optional
        Its length, where it is given in minutes.
    steps : int, optional
        Its length otherwise; `DEFAULT_STEPS` when there is neither.
    device : str, optional
        Kind of device, such as ``"cuda"``; rows for one kind are left out without it.

    Raises
    ------
    InputError
        When there is no such preset.
    """
    rows = [row for row in TABLE if row.preset == preset]
    if not rows:
        names = ", ".join(dict.fromkeys(row.preset for row in TABLE))
        raise InputError(f"no preset '{preset}'; there are: {names}", code="UNKNOWN_NAME")
    length = (steps or DEFAULT_STEPS) if minutes is None else minutes

    def fits(row: Row) -> bool:
        least = row.from_steps if minutes is None else row.from_minutes
        return length >= least and row.device in (None, device)

    return next((row for row in reversed(rows) if fits(row)), rows[0]).recipe
