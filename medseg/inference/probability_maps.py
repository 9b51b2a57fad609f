"""Maps of probability, one channel of logits after another: never all classes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Percents = npt.NDArray[np.uint8]
MOST = 255
"""What stands for a probability of 1 in maps of every channel."""


class ProbabilityMaps:
    """Uncertainty, and the probability of one channel, as rows of logits pass by.

    Parameters
    ----------
    native_shape : tuple of int
        Voxels of the maps.
    exclusive : bool
        Whether channels exclude each other (softmax), or each is a region (sigmoid).
    uncertainty : bool
        Whether to map the probability that the label is wrong: one minus that of the likeliest
        class; of regions the one that is nearest to one half.
    channel : int, optional
        The channel whose probability to map.
    every : int, default 0
        How many channels there are, to map the probability of each in 255ths, a byte for each
        voxel and channel.
    """

    def __init__(
        self,
        native_shape: tuple[int, int, int],
        *,
        exclusive: bool,
        uncertainty: bool,
        channel: int | None = None,
        every: int = 0,
    ) -> None:
        self.exclusive = exclusive
        self.channel = channel
        self.uncertainty = np.zeros(native_shape, np.uint8) if uncertainty else None
        self.probability = np.zeros(native_shape, np.uint8) if channel is not None else None
        self.every = [np.zeros(native_shape, np.uint8) for _ in range(every)]
        self._passed: _Softmax | _Sigmoid = _Softmax(channel)

    @property
    def requested(self) -> bool:
        """Whether there is a map to make."""
        return self.uncertainty is not None or self.probability is not None or bool(self.every)

    def replace_each(self, change: Callable[[Percents], Percents]) -> None:
        """Put in place of every map what `change` makes of it, one after another."""
        if self.uncertainty is not None:
            self.uncertainty = change(self.uncertainty)
        if self.probability is not None:
            self.probability = change(self.probability)
        for channel, percents in enumerate(self.every):
            self.every[channel] = change(percents)

    def record(self, values: Iterator[Tensor], rows: slice) -> Iterator[Tensor]:
        """Let the channels of some rows pass, and write those rows of the maps."""
        self._passed = statistics = (
            _Softmax(self.channel) if self.exclusive else _Sigmoid(self.channel)
        )
        for index, value in enumerate(values):
            statistics.add(index, value)
            yield value
        if self.uncertainty is not None:
            self.uncertainty[rows] = _share(statistics.uncertainty(), 100)
        if self.probability is not None:
            self.probability[rows] = _share(statistics.probability(), 100)

    def record_every(self, values: Iterator[Tensor], rows: slice) -> None:
        """Write those rows of the map of each channel; they pass a second time after `record`."""
        for channel_map, value in zip(self.every, values, strict=True):
            channel_map[rows] = _share(self._passed.probability_of(value), MOST)


class _Softmax:
    """Running largest logit and sum of exponentials beside it, so that nothing overflows."""

    def __init__(self, channel: int | None) -> None:
        self.channel = channel
        self.best = self.total = self.own = torch.zeros(())

    def add(self, index: int, value: Tensor) -> None:
        if index == 0:
            self.best, self.total = value, torch.ones_like(value)
        else:
            best = torch.maximum(self.best, value)
            self.total = self.total * (self.best - best).exp() + (value - best).exp()
            self.best = best
        if index == self.channel:
            self.own = value

    def uncertainty(self) -> Tensor:
        return 1 - 1 / self.total

    def probability(self) -> Tensor:
        return self.probability_of(self.own)

    def probability_of(self, value: Tensor) -> Tensor:
        return (value - self.best).exp() / self.total


class _Sigmoid:
    def __init__(self, channel: int | None) -> None:
        self.channel = channel
        self.nearest = self.own = torch.zeros(())

    def add(self, index: int, value: Tensor) -> None:
        size = value.abs()
        self.nearest = size if index == 0 else torch.minimum(self.nearest, size)
        if index == self.channel:
            self.own = value

    def uncertainty(self) -> Tensor:
        return torch.sigmoid(-self.nearest)

    def probability(self) -> Tensor:
        return self.probability_of(self.own)

    def probability_of(self, value: Tensor) -> Tensor:
        return torch.sigmoid(value)


def _share(probability: Tensor, whole: int) -> Percents:
    shares: Percents = (probability * whole).round().to(torch.uint8).cpu().numpy()
    return shares
