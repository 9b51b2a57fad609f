"""Our readers as a MONAI `ImageReader`: ``LoadImaged(keys, reader=MedsegReader)``.

MONAI's own DICOM readers merge series, sort by InstanceNumber or drop the shear of a tilted
gantry. This one gives a `MetaTensor` whose affine places every voxel where its slice's header says,
or raises what `medseg.reading.read_scan` raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, SpaceKeys

from medseg.errors import GeometryError
from medseg.reading import Policies, read_scan
from medseg.volume import Scan


class MedsegReader(ImageReader):  # type: ignore[misc]
    """Reads what `medseg.reading.read_scan` reads, for MONAI's `LoadImage`.

    Parameters
    ----------
    series : str, optional
        Which series of a DICOM folder.
    policies : Policies, optional
    """

    def __init__(self, series: str | None = None, policies: Policies | None = None) -> None:
        super().__init__()
        self.series = series
        self.policies = policies or Policies()

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether to try this reader; it says itself what is wrong with a file."""
        return all(Path(path).exists() for path in _as_sequence(filename))

    def read(self, data: Sequence[Any] | Any, **_: Any) -> list[Scan]:
        """Read one scan per path."""
        return [
            read_scan(path, series=self.series, policies=self.policies)
            for path in _as_sequence(data)
        ]

    def get_data(self, img: Sequence[Scan]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Voxels and the metadata that MONAI makes a MetaTensor of.

        Parameters
        ----------
        img : sequence of Scan
            From `read`. Several must lie on one grid and become channels.

        Returns
        -------
        voxels : ndarray, shape (I, J, K), or (C, I, J, K) with several channels
        meta : dict
            The affine leads to RAS+ mm.

        Raises
        ------
        GeometryError
            When several scans do not lie on one grid.
        """
        first = img[0]
        if not all(first.grid.same_as(other.grid) for other in img):
            raise GeometryError("scans that become channels of one image lie on different grids")
        voxels = np.concatenate([scan.voxels for scan in img])
        single = len(voxels) == 1
        meta = {
            MetaKeys.AFFINE: np.array(first.grid.affine),
            MetaKeys.ORIGINAL_AFFINE: np.array(first.grid.affine),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(first.grid.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if single else 0,
            "modality": first.modality,
            "notes": list(first.provenance.notes),
        }
        return (voxels[0] if single else voxels), meta


def _as_sequence(paths: Sequence[Any] | Any) -> Sequence[Any]:
    """One path or several, as several."""
    return [paths] if isinstance(paths, str | Path) else list(paths)
