"""A network of another library, made to take images of any size."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.blocks.layers import Axes, adopt_instance_norm, crop, pad_to_multiple


class Padded(nn.Module):
    """Pads the image to what the network inside can halve, and crops its logits.

    Parameters
    ----------
    network : torch.nn.Module
        From ``image_BCIJK`` to ``logits_BLIJK``, or in training to ``logits_BNLIJK``: N levels of
        deep supervision at full size, the final one first.
    multiple : tuple of int
        What the image must be a multiple of along each axis.

    Notes
    -----
    Instance norms inside become :class:`~.instance_norm.InstanceNorm`, which takes
    maps of one voxel and is quick on a CPU; names and shapes of parameters stay.
    """

    def __init__(self, network: nn.Module, multiple: Axes) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        adopt_instance_norm(network)

    def forward(self, image_BCIJK: Tensor) -> Tensor | list[Tensor]:
        size = image_BCIJK.shape[2:]
        logits = self.network(pad_to_multiple(image_BCIJK, self.multiple))
        if logits.ndim > image_BCIJK.ndim:
            return [crop(level, size) for level in logits.unbind(1)]
        return crop(logits, size)
