"""Steps that refine what a network says, one file each; the file's name is the public name.

Steps on probabilities (``crf``) come before the label is chosen and see the image; steps on labels
(``components``, ``holes``, ``minimum_volume``) come after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.planning.plan import Component, settings_of
from medseg.postprocessing.protocol import LabelStep, ProbabilityStep, Three
from medseg.runtime import registry

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

PACKAGE = "medseg.postprocessing"


@dataclass(frozen=True)
class Postprocessing:
    """The steps of a model, in order; without steps, nothing is changed.

    Parameters
    ----------
    on_probabilities : tuple of ProbabilityStep
        Come first, on the grid the network sees.
    on_labels : tuple of LabelStep
        Come last, on the scan's own voxels.
    """

    on_probabilities: tuple[ProbabilityStep, ...] = ()
    on_labels: tuple[LabelStep, ...] = ()

    def probabilities(
        self, probabilities_LIJK: Tensor, image_CIJK: Tensor, *, spacing_mm: Three
    ) -> Tensor:
        """Probabilities after every step that works on them.

        Parameters
        ----------
        probabilities_LIJK : torch.Tensor
            Of each class; sum to 1 over L.
        image_CIJK : torch.Tensor
            What the network saw, on the same grid.
        spacing_mm : tuple of float
            Of the three axes, in mm.
        """
        for step in self.on_probabilities:
            probabilities_LIJK = step(probabilities_LIJK, image_CIJK, spacing_mm=spacing_mm)
        return probabilities_LIJK

    def labels(self, classes_IJK: npt.NDArray[Any], *, spacing_mm: Three) -> npt.NDArray[Any]:
        """Class indices after every step that works on them.

        Parameters
        ----------
        classes_IJK : ndarray of integers
            Class of each voxel, 0 being the background.
        spacing_mm : tuple of float
            Of the three axes, in mm.

        Returns
        -------
        ndarray, same shape and type
            `classes_IJK` itself when there is no step.
        """
        for step in self.on_labels:
            classes_IJK = step(classes_IJK, spacing_mm=spacing_mm)
        return classes_IJK


NO_POSTPROCESSING = Postprocessing()
"""No step at all."""


def names() -> tuple[str, ...]:
    """Names of the steps there are."""
    return registry.names(PACKAGE)


def build_postprocessing(components: Iterable[Component]) -> Postprocessing:
    """The steps that are asked for.

    Parameters
    ----------
    components : iterable of Component
        Steps by name, in order; a name may come several times. Those on probabilities come before
        those on labels whatever the order here.

    Raises
    ------
    PlanError
        When a name or a setting is unknown.
    """
    steps: dict[str, list[Any]] = {"probabilities": [], "labels": []}
    for component in components:
        module = registry.load(PACKAGE, component.name)
        settings = settings_of(component, module.Settings, package=PACKAGE)
        steps[module.WORKS_ON].append(module.build(settings))
    return Postprocessing(tuple(steps["probabilities"]), tuple(steps["labels"]))
