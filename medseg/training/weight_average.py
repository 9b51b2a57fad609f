"""The running mean of a network's weights: what is measured and packed in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

PREFIX = "average."
"""Of its tensors in a checkpoint; each has the name of a weight of the network."""


class WeightAverage:
    """Exponential moving average of weights; buffers are those of the network itself.

    Parameters
    ----------
    network : torch.nn.Module
        Whose weights are averaged, as they are now and after each `update`.
    decay : float
        Share of the mean that a step keeps, once there were many.

    References
    ----------
    ``min(decay, (1 + t) / (10 + t))`` at step t: the first steps are soon forgotten, as in
    TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        named = dict(network.named_parameters())
        self.names = tuple(named)
        self.weights = [weight.detach() for weight in named.values()]
        self.means = [weight.clone() for weight in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.means, self.weights, step)

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """The network with the means as its weights; afterwards it is as before, bit for bit."""
        kept = [weight.clone() for weight in self.weights]
        self.put()
        try:
            yield
        finally:
            _copy(self.weights, kept)

    def put(self) -> None:
        """Make the means the network's weights."""
        _copy(self.weights, self.means)

    def tensors(self) -> dict[str, Tensor]:
        """The means by their names in a checkpoint."""
        return {f"{PREFIX}{name}": mean for name, mean in zip(self.names, self.means, strict=True)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint's tensors; from the network's weights where it has no means."""
        own = dict(zip(self.names, self.weights, strict=True))
        _copy(self.means, [tensors.get(f"{PREFIX}{name}", weight) for name, weight in own.items()])


@torch.no_grad()
def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
