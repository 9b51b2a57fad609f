"""What a file of this package offers, and the classes its part is derived from.

A file offers `Settings`, a frozen `msgspec.Struct` whose first field is `probability`, and
``build(settings, *, spatial_dims, spacing_mm, patch)``, which gives an `Augmentation`. The part
draws its random numbers in one method and applies them in another, so the per-sample form
(`Augmentation.transform`, for MONAI) is the batched form (`Augmentation.batched`, on the device)
with a batch of one: the same mathematics, written once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from medseg.augmentation._geometry import centre_crop
from medseg.augmentation._ranges import expand_to

if TYPE_CHECKING:
    from medseg.augmentation._sample import SampleTransform

Draw = dict[str, Tensor]
"""Random numbers of a batch by name; the first axis of each is the batch."""


class AugmentationModule(Protocol):
    """A module of ``medseg.augmentation``.

    Parameters
    ----------
    Settings : type
        A frozen `msgspec.Struct` with defaults: `probability`, and ranges.
    """

    Settings: type[Any]

    def build(
        self,
        settings: Any,
        *,
        spatial_dims: int,
        spacing_mm: Sequence[float],
        patch: Sequence[int],
    ) -> Augmentation:
        """The part with these settings.

        Parameters
        ----------
        settings : Settings
        spatial_dims : int
            2 or 3.
        spacing_mm : sequence of float
            Of the `spatial_dims` axes, in mm.
        patch : sequence of int
            Voxels along those axes of what comes out. A part that resamples takes larger patches
            and gives their middle; every other part keeps the shape it is given.
        """


class Augmentation(ABC):
    """Random changes of a batch of patches, each sample with its own draw.

    Parameters
    ----------
    settings : Settings
        Of the file the part lives in.
    """

    changes_labels: ClassVar[bool] = False
    """Whether voxels move, so that labels move with them."""

    resamples: ClassVar[bool] = False
    """Whether voxels come from outside the patch, so that a wider one should be given."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def draw(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        """Random numbers for a batch, on the generator's device.

        Parameters
        ----------
        generator : torch.Generator
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
        applied = draw["applied"]
        # on a device the question would wait for everything that is queued there
        if applied.device.type == "cpu" and not bool(applied.any()):
            return self.unchanged(image), self.unchanged(label)
        image_after, label_after = self.change(image.float(), label, draw)
        image_before, label_before = self.unchanged(image), self.unchanged(label)
        return (
            torch.where(
                expand_to(applied, image_before), image_after.to(image.dtype), image_before
            ),
            torch.where(expand_to(applied, label_before), label_after.to(label.dtype), label_before)
            if self.changes_labels
            else label_before,
        )

    def batched(
        self, image: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw and apply, on the device of the image; nothing waits for the host.

        Parameters
        ----------
        image : torch.Tensor
            (B, C, I, J, K) or (B, C, I, J).
        label : torch.Tensor
            Class indices (B, I, J, K) or (B, I, J).
        generator : torch.Generator
            On the same device.
        """
        return self.apply(image, label, self.draw(generator, image.shape))

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

    def unchanged(self, batch: Tensor) -> Tensor:
        """What becomes of samples that are not drawn."""
        return batch

    @abstractmethod
    def parameters(self, generator: torch.Generator, shape: Sequence[int]) -> Draw:
        """Random numbers of the part's own, drawn for every sample whether it is changed or not."""

    @abstractmethod
    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every sample of a float32 batch changed."""


class IntensityAugmentation(Augmentation):
    """Changes intensities and leaves every voxel where it is."""

    def change(self, image: Tensor, label: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every sample changed; labels as they are."""
        return self.change_image(image, draw), label

    @abstractmethod
    def change_image(self, image: Tensor, draw: Draw) -> Tensor:
        """Every sample of a float32 image (B, C, ...) changed."""


class ResamplingAugmentation(Augmentation):
    """Takes each voxel from another place of the patch, or of the wider one it is given.

    Parameters
    ----------
    settings : Settings
    spacing_mm : sequence of float
        Of the patch's axes.
    patch : sequence of int
        Voxels of what comes out: the middle of what comes in.
    """

    changes_labels = True
    resamples = True

    def __init__(self, settings: Any, spacing_mm: Sequence[float], patch: Sequence[int]) -> None:
        super().__init__(settings)
        self.spacing_mm = tuple(spacing_mm)
        self.patch = tuple(patch)

    def unchanged(self, batch: Tensor) -> Tensor:
        """The middle of the patch."""
        return centre_crop(batch, self.patch)
