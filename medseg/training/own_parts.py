"""What a person gives to a training in Python, in place of a name or in addition to the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.transforms import Compose
from msgspec import structs
from torch import Tensor, nn

from medseg.errors import InputError, reason
from medseg.losses import Loss
from medseg.networks.adapters.class_network import describe_network
from medseg.planning import Component, Plan
from medseg.preprocessing.own_transforms import Transform, flattened, name_of
from medseg.runtime.class_parts import GIVEN
from medseg.training.options import TrainingOptions


@dataclass(frozen=True)
class TrainingEvent:
    """What a callback is called with, after every step.

    Parameters
    ----------
    step, total_steps : int
        Optimiser steps done and in all; `total_steps` is 0 while it is not known.
    seconds : float
        Of training so far.
    loss : float
        Of this step.
    dice : dict of str to float or None
        Mean Dice by label on held-out cases, after a step that was followed by a validation.
    """

    step: int
    total_steps: int
    seconds: float
    loss: float
    dice: dict[str, float] | None


Callback = Callable[[TrainingEvent], Any]


@dataclass(frozen=True, kw_only=True)
class OwnParts:
    """A person's own parts of a training.

    Parameters
    ----------
    network : torch.nn.Module or None
    loss : callable or None
    transforms : tuple of callable
        After the plan's preparation of a whole scan.
    augmentation : callable or sequence of callable or None
        In place of the plan's.
    callbacks : tuple of callable
    """

    network: nn.Module | None = None
    loss: Loss | None = None
    transforms: tuple[Transform, ...] = ()
    augmentation: Transform | Sequence[Transform] | None = None
    callbacks: tuple[Callback, ...] = ()

    def named(self, options: TrainingOptions) -> TrainingOptions:
        """Options that say what was given."""
        names = {}
        if self.network is not None:
            names["network"] = f"{GIVEN}{type(self.network).__name__}"
        if self.loss is not None:
            names["loss"] = f"{GIVEN}{name_of(self.loss)}"
        return structs.replace(options, **names)

    def planned(self, plan: Plan, *, classes: int) -> Plan:
        """A plan that names these parts.

        Parameters
        ----------
        plan : Plan
        classes : int
            Channels of the network.
        """
        changes: dict[str, Any] = {"transforms": tuple(map(name_of, self.transforms))}
        if self.network is not None:
            name, settings = describe_network(self.network, plan, classes=classes)
            changes["network"] = Component(name=name, settings=settings)
        if self.loss is not None:
            changes["loss"] = Component(name=f"{GIVEN}{name_of(self.loss)}")
        if self.augmentation is not None:
            names = map(name_of, _compose(self.augmentation).flatten().transforms)
            changes["augmentation"] = tuple(Component(name=f"{GIVEN}{name}") for name in names)
        return structs.replace(plan, **changes)

    def stop(self, event: TrainingEvent) -> bool:
        """Call every callback; whether one of them returned True."""
        answers = [callback(event) for callback in self.callbacks]
        return any(answer is True for answer in answers)


def own_parts(
    *,
    network: nn.Module | None,
    loss: Loss | None,
    transforms: Transform | Sequence[Transform],
    augmentation: Transform | Sequence[Transform] | None,
    callbacks: Callback | Sequence[Callback],
) -> OwnParts:
    """A person's parts, checked as far as they can be before there is a plan.

    Raises
    ------
    InputError
        When one is of the wrong kind, or a transform is random.
    """
    if network is not None and not isinstance(network, nn.Module):
        raise InputError(
            f"a network is a name or a torch.nn.Module, got {type(network).__name__}; give an"
            " object, not its class"
        )
    if loss is not None and (isinstance(loss, type) or not callable(loss)):
        raise InputError(
            f"a loss is a name or can be called with logits and labels, got {loss!r}; give an"
            " object, not its class"
        )
    return OwnParts(
        network=None if network is None else network.cpu(),
        loss=loss,
        transforms=flattened(transforms),
        augmentation=augmentation,
        callbacks=(callbacks,) if callable(callbacks) else tuple(callbacks),
    )


def with_parts(
    options: TrainingOptions | None,
    *,
    network: str | nn.Module | None = None,
    loss: str | Loss | None = None,
    augmentation: str | Transform | Sequence[Transform] | None = None,
    transforms: Transform | Sequence[Transform] = (),
    callbacks: Callback | Sequence[Callback] = (),
) -> tuple[TrainingOptions | None, OwnParts]:
    """The options with those parts that are names, and the parts that are objects."""
    given: dict[str, Any] = {"network": network, "loss": loss, "augmentation": augmentation}
    names = {key: part for key, part in given.items() if isinstance(part, str)}
    if names:
        options = structs.replace(options or TrainingOptions(), **names)
    given |= dict.fromkeys(names)
    return options, own_parts(**given, transforms=transforms, callbacks=callbacks)


def _compose(transforms: Transform | Sequence[Transform]) -> Compose:
    return transforms if isinstance(transforms, Compose) else Compose(transforms)


class OwnAugmentation:
    """A person's transforms on training patches.

    Parameters
    ----------
    transforms : callable or sequence of callable
        MONAI's dictionary transforms, for the keys ``"image"`` and ``"label"``.
    plan : Plan
        Its patch is what goes in and comes out.
    """

    def __init__(self, transforms: Transform | Sequence[Transform], plan: Plan) -> None:
        self.compose = _compose(transforms)
        self.region = plan.patch
        self.slice_axis = plan.slice_axis

    def __call__(
        self, image_CIJK: Tensor, label_IJK: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Change one patch, the same for the same seed.

        Raises
        ------
        InputError
            When a transform fails, or gives a patch of another size.
        """
        self.compose.set_random_state(seed=seed)
        patch = {"image": image_CIJK, "label": label_IJK[None].float()}
        if self.slice_axis is not None:
            patch = {key: value.squeeze(self.slice_axis + 1) for key, value in patch.items()}
        try:
            changed = self.compose(dict(patch))
        except Exception as error:  # another's code; it may raise anything
            cause = error.__cause__ or error
            raise InputError(
                f"the augmentation fails on a patch: {reason(cause)}; it has to take dictionaries"
                " with the keys 'image' and 'label'"
            ) from error
        after = {key: torch.as_tensor(changed[key]).float() for key in patch}
        for key, value in after.items():
            if value.shape != patch[key].shape:
                raise InputError(
                    f"the augmentation makes '{key}' of a patch {tuple(value.shape)} and was given"
                    f" {tuple(patch[key].shape)}; it has to keep the size"
                )
        if self.slice_axis is not None:
            after = {key: value.unsqueeze(self.slice_axis + 1) for key, value in after.items()}
        image, label = (after[key].as_subclass(Tensor) for key in ("image", "label"))
        return image, label[0].round().long()
