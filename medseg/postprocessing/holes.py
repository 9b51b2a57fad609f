"""Fill the holes of a label: background that the label encloses on all sides."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from medseg.postprocessing._components import ConnectedComponents, Mask, box_of, classes_of
from medseg.postprocessing.protocol import LabelStep, Three

WORKS_ON = "labels"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a manifest may choose.

    Parameters
    ----------
    largest_mm3 : float or None
        Larger holes stay, in mm^3; None fills all. A picture's voxel has a volume too: its pixel's
        area times the spacing of the axis of one voxel.
    over_labels : bool
        Whether other labels inside a hole are replaced as well.
    labels : tuple of int
        Classes to work on, 1 being the first label of the table; all when empty.
    """

    largest_mm3: Annotated[float, Meta(gt=0)] | None = None
    over_labels: bool = False
    labels: tuple[int, ...] = ()


def build(settings: Settings) -> LabelStep:
    """A step that gives holes to the label around them, to the inner one where several are."""
    return _Holes(settings)


@dataclass(frozen=True)
class _Holes:
    settings: Settings

    def __call__(self, classes_IJK: npt.NDArray[Any], *, spacing_mm: Three) -> npt.NDArray[Any]:
        refined = classes_IJK.copy()
        labels = classes_of(classes_IJK, self.settings.labels)
        boxes = {label: box_of(classes_IJK == label) for label in labels}
        volumes = {
            label: prod(span.stop - span.start for span in box) for label, box in boxes.items()
        }
        for label in sorted(labels, key=lambda item: volumes[item]):  # inner before outer
            mask_IJK = refined == label
            if not mask_IJK.any():
                continue
            box = boxes[label]
            hole_IJK = self._holes(mask_IJK, box, spacing_mm)
            if not self.settings.over_labels:
                hole_IJK &= refined[box] == 0
            refined[box][hole_IJK] = label
        return refined

    def _holes(self, mask_IJK: Mask, box: tuple[slice, ...], spacing_mm: Three) -> Mask:
        """Voxels in the box from which no way over faces leads out of it."""
        components = ConnectedComponents.of(~mask_IJK[box], spacing_mm=spacing_mm, corners=False)
        enclosed = np.ones(len(components.volumes_mm3), np.bool_)
        for axis, size in enumerate(mask_IJK.shape):
            if size > 1:
                enclosed[np.take(components.numbers, (0, -1), axis=axis)] = False
        enclosed[0] = False
        if self.settings.largest_mm3 is not None:
            enclosed &= components.volumes_mm3 <= self.settings.largest_mm3
        return components.select(enclosed)
