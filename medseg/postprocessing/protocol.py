"""What a file of this package offers; the contract suite checks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

Three = tuple[float, float, float]


class LabelStep(Protocol):
    """Changes which class a voxel belongs to."""

    def __call__(self, classes_IJK: npt.NDArray[Any], *, spacing_mm: Three) -> npt.NDArray[Any]:
        """Class indices of the same shape and type; those given are not changed.

        Parameters
        ----------
        classes_IJK : ndarray of integers
            Class of each voxel, 0 being the background; K is 1 for a picture.
        spacing_mm : tuple of float
            Of the three axes, in mm.
        """


class ProbabilityStep(Protocol):
    """Changes how probable each class is at a voxel."""

    def __call__(
        self, probabilities_LIJK: Tensor, image_CIJK: Tensor, *, spacing_mm: Three
    ) -> Tensor:
        """Probabilities of the same shape and on the same device, summing to 1 over L.

        Parameters
        ----------
        probabilities_LIJK : torch.Tensor
        image_CIJK : torch.Tensor
            What the network saw, on the same grid; K is 1 for a picture.
        spacing_mm : tuple of float
            Of the three axes, in mm.
        """


class Step(Protocol):
    """A module of ``medseg.postprocessing``.

    Parameters
    ----------
    WORKS_ON : {"labels", "probabilities"}
        Which of the two kinds of step it builds.
    Settings : type
        A frozen `msgspec.Struct` with defaults: what a manifest may choose.
    """

    WORKS_ON: Literal["labels", "probabilities"]
    Settings: type[Any]

    def build(self, settings: Any) -> LabelStep | ProbabilityStep:
        """The step with these settings."""
