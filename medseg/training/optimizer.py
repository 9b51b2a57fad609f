"""The optimiser that a recipe names."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from medseg.training.muon import Muon
from medseg.training.recipe import Recipe


def build_optimizer(network: nn.Module, recipe: Recipe, *, fused: bool) -> Optimizer:
    """Make the optimiser of a network's weights.

    Parameters
    ----------
    network : torch.nn.Module
    recipe : Recipe
        Which one; the learning rate is set before each step.
    fused : bool
        Whether one kernel updates all weights, on a device that has it.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return AdamW(network.parameters(), lr=rate, weight_decay=decay, fused=fused or None)
    if recipe.optimizer == "muon":
        return Muon(network.parameters(), lr=rate, weight_decay=decay)
    return SGD(
        network.parameters(),
        lr=rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=decay,
        fused=fused or None,
    )
