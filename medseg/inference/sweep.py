"""Along which axis tiles go over a volume: the one where the fewest voxels are open at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medseg.inference.tiling import Triple

Scalar = TypeVar("Scalar", bound=np.generic)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sweep:
    """An axis brought to the front.

    Parameters
    ----------
    axis : int
        0, 1 or 2; the others keep their order.
    """

    axis: int

    @classmethod
    def of(cls, extent: Triple, tile: Triple) -> Sweep:
        """The sweep whose window, a tile deep and as wide as the volume, is smallest.

        Parameters
        ----------
        extent : tuple of int
            Voxels of the volume.
        tile : tuple of int
            Voxels of a tile.
        """
        shape = tuple(max(pair) for pair in zip(extent, tile, strict=True))
        return cls(min(range(3), key=lambda axis: tile[axis] * prod(shape) // shape[axis]))

    def turned(self, along: tuple[Item, Item, Item]) -> tuple[Item, Item, Item]:
        """What belongs to the three axes, in the sweep's order."""
        first, *rest = (self.axis, *(n for n in range(3) if n != self.axis))
        return along[first], along[rest[0]], along[rest[1]]

    def turn(self, values: Tensor) -> Tensor:
        """A view of a tensor, its last three axes in the sweep's order."""
        return values.movedim(self.axis - 3, -3)

    def turn_back(self, values: Tensor) -> Tensor:
        """The inverse of `turn`."""
        return values.movedim(-3, self.axis - 3)

    def array_back(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """An array of the sweep's axes on the volume's."""
        return np.ascontiguousarray(np.moveaxis(values, 0, self.axis))

    def network(self, network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A network that takes and gives tiles in the sweep's order."""
        if self.axis == 0:
            return network
        return lambda tiles: self.turn(network(self.turn_back(tiles)))
