"""Our readers in MONAI: ``LoadImaged(keys, reader=MedsegReader)``, and scans as `MetaTensor`.

MONAI's own DICOM readers merge series, sort by InstanceNumber or drop the shear of a tilted
gantry. This one gives a `MetaTensor` whose affine places every voxel where its slice's header says,
or raises what `medseg.reading.read_scan` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.image_reader import ImageReader
from monai.transforms import MapTransform
from monai.utils import MetaKeys, SpaceKeys

from medseg.reading import Policies, read_labels
from medseg.reading.channels import read_channels
from medseg.volume import Grid, LabelMap, Scan
from medseg.volume.scan import Provenance

PROVENANCE = "medseg_provenance"
"""Key of MONAI's meta dictionary under which a scan's provenance lies, as JSON."""


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

    def read(self, data: Sequence[Any] | Any, **_: Any) -> list[Path]:
        """The paths that `get_data` reads.

        `LoadImage` answers an error in here by trying MONAI's own readers, which take the DICOM
        series that ours refuses and place it wrongly; so nothing is opened before `get_data`.
        """
        return [Path(path) for path in _as_sequence(data)]

    def get_data(self, img: Sequence[Path]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Voxels and the metadata that MONAI makes a MetaTensor of.

        Parameters
        ----------
        img : sequence of Path
            Several must lie on one grid and become channels.

        Returns
        -------
        voxels : ndarray, shape (I, J, K), or (C, I, J, K) with several channels
        meta : dict
            See `meta_of`; the affine leads to RAS+ mm.

        Raises
        ------
        MedsegError
            As `medseg.reading.read_scan` does, or when several scans do not lie on one grid.
        """
        scan = read_channels(img, series=self.series, policies=self.policies)
        meta, voxels = meta_of(scan), _for_torch(scan.voxels)
        single = scan.channels == 1
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = float("nan") if single else 0
        return (voxels[0] if single else voxels), meta


class LoadLabelsd(MapTransform):  # type: ignore[misc]
    """Read label maps as tensors (1, I, J, K) on the grid of a scan that is loaded already.

    Parameters
    ----------
    keys : hashable or sequence of hashable
        Of the paths.
    like : hashable, default "image"
        Key of the scan that was labelled, as `MedsegReader` loaded it.
    read : callable, optional
        Takes a path and the scan and gives a `LabelMap`, in place of
        `medseg.reading.read_labels`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        like: Hashable = "image",
        read: Callable[[Path, Scan], LabelMap] | None = None,
    ) -> None:
        super().__init__(keys)
        self.like = like
        self.read = read or _read_on

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read what the keys name."""
        loaded, scan = dict(data), scan_of(data[self.like])
        for key in self.key_iterator(loaded):
            loaded[key] = labels_as_meta_tensor(self.read(Path(loaded[key]), scan))
        return loaded


def _read_on(path: Path, scan: Scan) -> LabelMap:
    return read_labels(path, like=scan)


def meta_of(scan: Scan) -> dict[str, Any]:
    """What MONAI's meta dictionary holds of a scan: plain data, so that batches collate.

    Parameters
    ----------
    scan : Scan

    Returns
    -------
    dict
        MONAI's own keys; ``modality``, ``time_step_s`` and ``notes``, a line each; and as JSON
        under ``medseg_provenance`` the files, UIDs and native slices that results refer to.
    """
    return {
        MetaKeys.AFFINE: np.array(scan.grid.affine),
        MetaKeys.ORIGINAL_AFFINE: np.array(scan.grid.affine),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.SPATIAL_SHAPE: np.array(scan.grid.shape),
        "modality": scan.modality,
        "time_step_s": scan.time_step_s,
        "notes": "\n".join(scan.provenance.notes),
        PROVENANCE: msgspec.json.encode(scan.provenance, enc_hook=_plain).decode(),
    }


def as_meta_tensor(scan: Scan) -> MetaTensor:
    """A scan in memory as `LoadImaged` with `MedsegReader` gives one.

    Parameters
    ----------
    scan : Scan

    Returns
    -------
    monai.data.MetaTensor
        Shape (C, I, J, K). Shares memory with the scan where torch knows its type: not to be
        written into.
    """
    return MetaTensor(torch.from_numpy(_for_torch(scan.voxels)), meta=meta_of(scan))


def labels_as_meta_tensor(labels: LabelMap) -> MetaTensor:
    """A label map in memory, as `as_meta_tensor` gives a scan; shape (1, I, J, K)."""
    return as_meta_tensor(Scan(labels.values[None], labels.grid, provenance=labels.provenance))


def scan_of(image: MetaTensor) -> Scan:
    """The scan that a `MetaTensor` is, on the grid it has now.

    Parameters
    ----------
    image : monai.data.MetaTensor
        Shape (C, I, J, K), with the meta of `meta_of`; from another reader it has no provenance.

    Returns
    -------
    Scan
        Shares memory with `image`.
    """
    stored = image.meta.get(PROVENANCE)
    provenance = Provenance(format="monai")
    if stored:
        provenance = msgspec.json.decode(stored, type=Provenance, dec_hook=_from_plain)
    return Scan(
        voxels_of(image),
        grid_of(image),
        modality=str(image.meta.get("modality", "")),
        provenance=provenance,
        time_step_s=float(image.meta.get("time_step_s", 0.0)),
    )


def grid_of(image: MetaTensor) -> Grid:
    """Where the voxels of ``image``, shape (C, I, J, K), lie."""
    return Grid(tuple(image.shape[1:]), np.asarray(image.affine, np.float64))


def voxels_of(image: MetaTensor) -> npt.NDArray[Any]:
    """The voxels of ``image`` as an array that shares its memory, where that is the CPU's."""
    array: npt.NDArray[Any] = image.detach().cpu().as_tensor().numpy()
    return array


def _for_torch(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values as torch takes them: of a type it has, else the next wider one."""
    if voxels.dtype.kind == "u" and voxels.dtype.itemsize > 1:
        voxels = voxels.astype(np.int32 if voxels.dtype.itemsize == 2 else np.int64)
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False).view()
    try:
        voxels.flags.writeable = True  # torch has no read-only tensors
    except ValueError:
        return voxels.copy()
    return voxels if min(voxels.strides) >= 0 else voxels.copy()


def _plain(value: Any) -> Any:
    """What JSON holds of a path or an array."""
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _from_plain(kind: Any, value: Any) -> Any:
    """The path or array that JSON holds."""
    return Path(value) if kind is Path else np.asarray(value)


def _as_sequence(paths: Sequence[Any] | Any) -> Sequence[Any]:
    """One path or several, as several."""
    return [paths] if isinstance(paths, str | Path) else list(paths)
