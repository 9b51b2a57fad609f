"""What a file of this package offers, and the classes its part is derived from.

A file offers `Settings`, a frozen `msgspec.Struct` whose first field is `probability`, and
``build(settings, axes)``, which gives an `Augmentation`. The part draws its random numbers in one
method and applies them in another, so the per-sample form (`Augmentation.transform`, for MONAI) is
the batched form (`Augmentation.batched`, on the device) with a batch of one: the same mathematics,
written once. Numbers are drawn on the host, which so knows which samples are changed without asking
the device, and changes no others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from medseg.augmentation._geometry import centre_crop, grid_of, positions_mm, sample
from medseg.augmentation._ranges import on_device

if TYPE_CHECKING:
    from medseg.augmentation._sample import SampleTransform

Draw = dict[str, Tensor]
"""Random numbers of a batch by name, on the host; the first axis of each is the batch."""
EVERY = slice(None)


class PatchAxes(NamedTuple):
    """The two or three axes of the patches that a part will change.

    Parameters
    ----------
    spacing_mm : tuple of float
        Of each axis.
    mirrored : tuple of int
        Those along which the plan lets patches be mirrored.
    """

    spacing_mm: tuple[float, ...]
    mirrored: tuple[int, ...] = ()


class AugmentationModule(Protocol):
    """A module of ``medseg.augmentation``.

    Parameters
    ----------
    Settings : type
        A frozen `msgspec.Struct` with defaults: `probability`, and ranges.
    """

    Settings: type[Any]

    def build(self, settings: Any, axes: PatchAxes) -> Augmentation:
        """The part with these settings, for patches of these axes."""


class Augmentation(ABC):
    """Random changes of a batch of patches, each sample with its own draw.

    Parameters
    ----------
    settings : Settings
        Of the file the part lives in.
    axes : PatchAxes
    """

    moves_voxels: ClassVar[bool] = True
    """Whether labels change with the image."""
    asks_numbers: ClassVar[bool] = False
    """Whether `change` is given its numbers on the host, where to ask for one waits for nothing."""

    def __init__(self, settings: Any, axes: PatchAxes) -> None:
        self.settings = settings
        self.axes = axes

    def draw(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        """Random numbers for a batch.

        Parameters
        ----------
        generator : torch.Generator
            Of the host.
        shape : sequence of int
            Of the image: B, C and the spatial axes.

        Returns
        -------
        dict of str to torch.Tensor
            ``"applied"``, whether each sample is changed, and what the part draws itself.
        """
        chance = torch.rand(shape[0], generator=generator, device=generator.device)
        applied = chance < self.settings.probability
        return {"applied": applied, **self.parameters(generator, shape)}

    def apply(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Change a batch by what was drawn.

        Parameters
        ----------
        image : torch.Tensor
            (B, C, I, J, K) or (B, C, I, J), floating, normalised.
        label : torch.Tensor
            Class indices (B, I, J, K) or (B, I, J).
        draw : dict of str to torch.Tensor
            What :meth:`draw` gave.

        Returns
        -------
        image, label : torch.Tensor
            Of the same types. Samples that were not drawn are the same bit for bit.
        """
        rows = draw["applied"].nonzero()[:, 0]
        if not len(rows):
            return self.kept(image), self.kept(label)
        own = {name: numbers[rows] for name, numbers in draw.items()}
        if not self.asks_numbers:
            own = {name: on_device(numbers, image.device) for name, numbers in own.items()}
        changed = None if len(rows) == len(image) else on_device(rows, image.device)
        image_after, label_after = self.change(
            _taken(image, changed).float(), _taken(label, changed), own
        )
        image_after = _put(self.kept(image), changed, image_after)
        if not self.moves_voxels:
            return image_after, label
        return image_after, _put(self.kept(label), changed, label_after)

    def batched(
        self,
        image: Tensor,
        label: Tensor,
        generator: torch.Generator,
        *,
        of: int | None = None,
        rows: slice = EVERY,
    ) -> tuple[Tensor, Tensor]:
        """Draw, and apply on the device of the image, which nobody waits for.

        Parameters
        ----------
        image : torch.Tensor
            (B, C, I, J, K) or (B, C, I, J).
        label : torch.Tensor
            Class indices (B, I, J, K) or (B, I, J).
        generator : torch.Generator
            Of the host.
        of : int, optional
            Samples of a larger batch, of which these are the `rows`: they are changed as they are
            there.
        rows : slice, optional
        """
        draw = self.draw(generator, (of or image.shape[0], *image.shape[1:]))
        mine = {name: numbers[rows] for name, numbers in draw.items()}
        return self.apply(image, label, mine)

    def transform(
        self, keys: Sequence[str] = ("image", "label"), *, label_keys: Sequence[str] = ("label",)
    ) -> SampleTransform:
        """The per-sample form: a MONAI dictionary transform, random by `set_random_state`.

        Parameters
        ----------
        keys : sequence of str
            Images and labels to change together, channel first.
        label_keys : sequence of str
            Those of `keys` that hold class indices.
        """
        from medseg.augmentation._sample import SampleTransform

        return SampleTransform(self, keys, label_keys=label_keys)

    def kept(self, batch: Tensor) -> Tensor:
        """The voxels that come out: all of them."""
        return batch

    @abstractmethod
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        """Random numbers of the part's own, drawn for every sample whether it is changed or not."""

    @abstractmethod
    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every sample of a float32 batch changed; `draw` is on its device, see `asks_numbers`."""


class IntensityAugmentation(Augmentation):
    """Changes intensities and leaves every voxel where it is."""

    moves_voxels = False

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every sample changed; labels as they are."""
        return self.change_image(image, draw), label

    @abstractmethod
    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        """Every sample of a float32 image (B, C, ...) changed."""


class ResamplingAugmentation(Augmentation):
    """Takes each voxel from another place: the patch is cut wider, so that there is one.

    Intensities are interpolated and labels are those of the nearest voxel; outside is zero.

    Attributes
    ----------
    size : tuple of int or None
        Voxels that come out, of the middle; None: all that come in.
    """

    size: tuple[int, ...] | None = None

    def kept(self, batch: Tensor) -> Tensor:
        """The middle of what comes in."""
        return batch if self.size is None else centre_crop(batch, self.size)

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every sample taken from where :meth:`source_mm` says."""
        spacing_mm = self.axes.spacing_mm
        target_mm = self.kept(positions_mm(image.shape[2:], spacing_mm, image.device))
        grid = grid_of(self.source_mm(target_mm, draw), image.shape[2:], spacing_mm)
        image = sample(image, grid, mode="bilinear", padding="zeros")
        label = sample(label[:, None].float(), grid, mode="nearest", padding="zeros")
        return image, label[:, 0]

    @abstractmethod
    def source_mm(self, target_mm: Tensor, draw: Draw) -> Tensor:
        """Where (B, D, ...) what will lie at `target_mm` (D, ...) is; mm from the centre."""


def _taken(batch: Tensor, rows: Tensor | None) -> Tensor:
    """Samples of some rows; all where None."""
    return batch if rows is None else batch.index_select(0, rows)


def _put(before: Tensor, rows: Tensor | None, after: Tensor) -> Tensor:
    """A batch with samples after in some rows, in the type they had before."""
    after = after.to(before.dtype)
    return after if rows is None else before.index_copy(0, rows, after)
