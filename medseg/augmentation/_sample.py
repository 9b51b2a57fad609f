"""The per-sample form of a part: a MONAI dictionary transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import Tensor

if TYPE_CHECKING:
    from medseg.augmentation.protocol import Augmentation, Draw


class SampleTransform(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """One part applied to dictionaries of channel-first arrays: the batched form, batch of one.

    Meta data is kept as it is: of a patch that was moved, it says where the patch was cut.

    Parameters
    ----------
    part : Augmentation
    keys : sequence of str
        Images and labels to change together.
    label_keys : sequence of str
        Those of `keys` that hold class indices, of shape (1, ...).
    """

    def __init__(
        self, part: Augmentation, keys: Sequence[str], *, label_keys: Sequence[str] = ("label",)
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=part.settings.probability)
        self.part = part
        self.label_keys = frozenset(label_keys)

    def randomize(self, data: Any = None) -> Draw:
        """A draw for an image of the shape of `data`."""
        generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
        draw = self.part.draw(generator, (1, *data.shape))
        self._do_transform = bool(draw["applied"].any())
        return draw

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with its images and labels changed by one draw."""
        changed = dict(data)
        arrays = {key: convert_to_tensor(data[key], track_meta=False) for key in self.keys}
        images = {key: array for key, array in arrays.items() if key not in self.label_keys}
        draw = self.randomize(next(iter((images or arrays).values())))
        for key, array in arrays.items():
            after = self._image(array, draw) if key in images else self._label(array, draw)
            changed[key] = convert_to_dst_type(after, data[key], dtype=array.dtype)[0]
        return changed

    def _image(self, array: Tensor, draw: Draw) -> Tensor:
        blank = torch.zeros((1, *array.shape[1:]), dtype=torch.long, device=array.device)
        return self.part.apply(array[None], blank, draw)[0][0]

    def _label(self, array: Tensor, draw: Draw) -> Tensor:
        if not self.part.moves_voxels:
            return array
        blank = torch.zeros((1, *array.shape), device=array.device)
        return self.part.apply(blank, array, draw)[1]
