"""What a network costs: parameters, and arithmetic for one image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """What a network costs.

    Parameters
    ----------
    parameters : int
    gflops : float
        Billions of floating-point operations of one forward pass in eval mode; a multiplication
        and an addition count as two. Norms, activations and interpolation are not counted.
    """

    parameters: int
    gflops: float


def cost_of(network: nn.Module, *, channels: int, size: tuple[int, ...]) -> Cost:
    """Count a network's parameters and the arithmetic for one image."""
    parameters = list(network.parameters())
    training = {module: module.training for module in network.modules()}
    network.eval()
    image_BCIJK = torch.zeros(1, channels, *size, device=parameters[0].device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image_BCIJK)
    for module, mode in training.items():
        module.training = mode
    return Cost(sum(p.numel() for p in parameters), counter.get_total_flops() / 1e9)
