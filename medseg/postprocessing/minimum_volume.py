"""Remove the pieces of a label that are too small to be what the label means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from medseg.postprocessing._components import ConnectedComponents, box_of, classes_of
from medseg.postprocessing.protocol import LabelStep, Three

WORKS_ON = "labels"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a manifest may choose.

    Parameters
    ----------
    smallest_mm3 : float
        Smaller pieces are removed, in mm^3.
    connected_by : {"faces", "corners"}
        Whether voxels that share only an edge or a corner belong together.
    labels : tuple of int
        Classes to work on, 1 being the first label of the table; all when empty.
    """

    smallest_mm3: Annotated[float, Meta(gt=0)] = 10.0
    connected_by: Literal["faces", "corners"] = "faces"
    labels: tuple[int, ...] = ()


def build(settings: Settings) -> LabelStep:
    """A step that gives small pieces of each label to the background."""
    return _MinimumVolume(settings)


@dataclass(frozen=True)
class _MinimumVolume:
    settings: Settings

    def __call__(self, classes_IJK: npt.NDArray[Any], *, spacing_mm: Three) -> npt.NDArray[Any]:
        refined = classes_IJK.copy()
        corners = self.settings.connected_by == "corners"
        for label in classes_of(classes_IJK, self.settings.labels):
            box = box_of(classes_IJK == label)
            mask_IJK = classes_IJK[box] == label
            components = ConnectedComponents.of(mask_IJK, spacing_mm=spacing_mm, corners=corners)
            small = components.volumes_mm3 < self.settings.smallest_mm3 * (1 - 1e-9)
            small[0] = False
            refined[box][components.select(np.asarray(small))] = 0
        return refined
