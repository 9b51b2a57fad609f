"""Keep only the largest connected pieces of a label: most organs are in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

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
    keep : int
        How many pieces each label keeps, the largest first.
    equal : bool
        Whether pieces as large as the last that is kept are kept, too, as nnU-Net does.
    connected_by : {"faces", "corners"}
        Whether voxels that share only an edge or a corner belong together.
    labels : tuple of int
        Classes to work on, 1 being the first label of the table; all when empty.
    together : bool
        Whether these labels are one structure, whose pieces are kept or dropped whole.
    """

    keep: Annotated[int, Meta(ge=1)] = 1
    equal: bool = False
    connected_by: Literal["faces", "corners"] = "faces"
    labels: tuple[int, ...] = ()
    together: bool = False


def build(settings: Settings) -> LabelStep:
    """A step that gives all but the largest pieces of each label to the background."""
    return _Components(settings)


@dataclass(frozen=True)
class _Components:
    settings: Settings

    def __call__(self, classes_IJK: npt.NDArray[Any], *, spacing_mm: Three) -> npt.NDArray[Any]:
        refined = classes_IJK.copy()
        classes = classes_of(classes_IJK, self.settings.labels)
        structures = (
            [classes] if self.settings.together and classes else [[label] for label in classes]
        )
        for structure in structures:
            whole_IJK = np.isin(classes_IJK, structure)
            box = box_of(whole_IJK)
            mask_IJK = whole_IJK[box]
            refined[box][self._dropped(mask_IJK, spacing_mm)] = 0
        return refined

    def _dropped(self, mask_IJK: Mask, spacing_mm: Three) -> Mask:
        """Voxels of the pieces that are not among the largest; of equal ones the first, or all."""
        corners = self.settings.connected_by == "corners"
        components = ConnectedComponents.of(mask_IJK, spacing_mm=spacing_mm, corners=corners)
        volumes_mm3 = components.volumes_mm3
        kept = np.argsort(-volumes_mm3, kind="stable")[: self.settings.keep]
        dropped = np.ones(len(volumes_mm3), np.bool_)
        dropped[kept] = False
        if self.settings.equal:
            dropped &= volumes_mm3 < volumes_mm3[kept[-1]]
        dropped[0] = False
        return components.select(dropped)
