"""Test-time mirroring: a network that looks at every mirror image of a tile and takes the mean."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor, nn

_LEADING = 2  # batch and channel come before space


class FlipTTA(nn.Module):
    """A network whose logits are the mean over mirror images, each turned back.

    Simonyan and Zisserman (2015, section 3.2) did so with horizontal flips of pictures. It costs
    two to the power of the number of axes, and pays the more the coarser the network is.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; gives logits of the size of its input.
    axes : tuple of int
        Along which its training mirrored patches, 0 being the first after the channels.
    """

    def __init__(self, network: nn.Module, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        lengths = range(len(axes) + 1)
        self.flips = [flip for length in lengths for flip in combinations(axes, length)]

    def forward(self, tiles: Tensor) -> Tensor:
        """Mean logits; shape (B, L, I, J, K).

        Parameters
        ----------
        tiles : Tensor, shape (B, C, I, J, K)
        """
        total: Tensor | None = None
        for axes in self.flips:
            dims = [axis + _LEADING for axis in axes]
            logits: Tensor = self.network(tiles.flip(dims)).flip(dims)
            total = logits if total is None else total + logits
        assert total is not None  # one image is the tile itself
        return total / len(self.flips)
