"""What autosave keeps of a Labels layer: voxels, names, place, and which scan it lies on."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.volume import Grid, Label, LabelTable
from medseg.volume.label_table import default_color
from medseg_napari.layers import KEY
from medseg_napari.run_record import RUN_KEY, RunRecord, runs_of

if TYPE_CHECKING:
    from napari.layers import Layer

_KEY_OF_FILE = "medseg_autosave_key"
_SAVED_KEY = "medseg_saved"
_FAST = 1  # zlib level: labels shrink a hundredfold at the lowest already


class FileState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of a scan was like.

    Parameters
    ----------
    path : str
    size_bytes, changed_ns : int
        By these a change is noticed.
    """

    path: str
    size_bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """The state of a file or folder now; None when it is not there."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(str(path), status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Checksums:
    """By these a change of a Labels layer is noticed.

    Parameters
    ----------
    voxels, table : int
        CRC-32 of the voxels, and of the names, colours and codes.
    """

    voxels: int
    table: int


class SavedLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One Labels layer of a session.

    Parameters
    ----------
    file : str
        Name of the file of voxels in the session's folder.
    name, dtype : str
    shape : tuple of int
        Of the voxels.
    crc32 : int
        Of the voxels.
    scale, translate : tuple of float
        Of the layer, mm.
    selected : int
    table : LabelTable
    runs : tuple of RunRecord
        Of models whose results it holds.
    grid_shape : tuple of int or None
    grid_affine : tuple of float or None
        Its 16 numbers, row by row.
    scan_path : str
        What to open to have the scan again, or an empty string.
    scan_name : str
        Of the layer of the scan.
    scan_series : str
        SeriesInstanceUID of a DICOM series, or an empty string.
    scan_files : tuple of FileState
        The scan's files as they were.
    """

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    crc32: int
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    selected: int
    table: LabelTable
    runs: tuple[RunRecord, ...] = ()
    grid_shape: tuple[int, int, int] | None = None
    grid_affine: tuple[float, ...] | None = None
    scan_path: str = ""
    scan_name: str = ""
    scan_series: str = ""
    scan_files: tuple[FileState, ...] = ()

    @property
    def checksums(self) -> Checksums:
        """Of the voxels and the table."""
        return Checksums(self.crc32, _table_crc32(self.table))

    @property
    def grid(self) -> Grid | None:
        """The source grid, bit for bit."""
        if self.grid_shape is None or self.grid_affine is None:
            return None
        return Grid(self.grid_shape, np.reshape(self.grid_affine, (4, 4)))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A copy of one Labels layer, so that it may be written while the person goes on.

    Parameters
    ----------
    key : str
    voxels : ndarray
    facts : dict
        The other fields of `SavedLayer`.
    saved : Checksums or None
        Of the layer as it was read or written last.
    """

    key: str
    voxels: npt.NDArray[Any]
    facts: dict[str, Any]
    saved: Checksums | None = None


def snapshot(layer: Layer, layers: Iterable[Layer]) -> Snapshot:
    """Copy a Labels layer and note which scan it lies on.

    Parameters
    ----------
    layer : napari.layers.Labels
    layers : iterable of Layer
        The scans it may lie on.
    """
    voxels = np.array(layer.data)
    source = layer.metadata.get(KEY) or {}
    grid = source.get("grid")
    facts: dict[str, Any] = {
        "name": layer.name,
        "scale": tuple(float(mm) for mm in layer.scale),
        "translate": tuple(float(mm) for mm in layer.translate),
        "selected": int(layer.selected_label),
        "table": _table_of(layer.metadata),
        "runs": runs_of({"metadata": layer.metadata}),
    }
    if isinstance(grid, Grid):
        facts["grid_shape"] = grid.shape
        facts["grid_affine"] = tuple(float(n) for n in grid.affine.ravel())
    facts.update(_scan_facts(layer, grid, layers))
    return Snapshot(_key_of(layer), voxels, facts, layer.metadata.get(_SAVED_KEY))


def mark_saved(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> None:
    """Remember that a layer as it is lies in a file of the person's, so need not be kept.

    Parameters
    ----------
    data : ndarray of int
    attributes : mapping
        Of the layer; its `metadata` is the layer's own.
    """
    metadata = attributes.get("metadata")
    if isinstance(metadata, dict):
        table = _table_crc32(_table_of(metadata))
        metadata[_SAVED_KEY] = Checksums(_crc32(np.asarray(data)), table)


def knows_its_file(layer: Layer) -> bool:
    """Whether it is known what of the layer is kept or lies in a file of the person's."""
    return bool({_KEY_OF_FILE, _SAVED_KEY} & set(layer.metadata))


def _table_of(metadata: Mapping[str, Any]) -> LabelTable:
    table = (metadata.get(KEY) or {}).get("table")
    return table if isinstance(table, LabelTable) else LabelTable(())


def _table_crc32(table: LabelTable) -> int:
    """Of what a person may have said; names and colours that medseg gives by itself are none."""
    return zlib.crc32(msgspec.json.encode([one for one in table if not _is_unsaid(one)]))


def _is_unsaid(label: Label) -> bool:
    plain = Label(value=label.value, name=f"label {label.value}", color=label.color)
    return label == plain and label.color in _default_colors()


@cache
def _default_colors() -> frozenset[tuple[int, int, int]]:
    return frozenset(default_color(row) for row in range(1024))


def _key_of(layer: Layer) -> str:
    """A random name for the layer's file, the same each time."""
    key: str = layer.metadata.setdefault(_KEY_OF_FILE, uuid.uuid4().hex)
    return key


def _scan_facts(layer: Layer, grid: object, layers: Iterable[Layer]) -> dict[str, Any]:
    scan = scan_of(layer, grid, layers)
    if scan is None:
        return {}
    provenance = scan.metadata[KEY]["provenance"]
    states = (FileState.of(Path(file)) for file in provenance.files)
    return {
        "scan_path": _path_of(scan.source.path, provenance.files),
        "scan_name": scan.name,
        "scan_series": provenance.series_uid,
        "scan_files": tuple(state for state in states if state is not None),
    }


def _path_of(opened: str | None, files: tuple[Path, ...]) -> str:
    """The file or folder that a scan was opened from."""
    if opened or not files:
        return str(opened or "")
    return str(files[0] if len(files) == 1 else Path(files[0]).parent)


def scan_of(layer: Layer | None, grid: object, layers: Iterable[Layer]) -> Layer | None:
    """The Image layer on the same grid as a label map; None when there is none."""
    if not isinstance(grid, Grid):
        return None
    for other in layers:
        theirs = other.metadata.get(KEY, {}).get("grid")
        is_scan = other is not layer and not hasattr(other, "selected_label")
        if is_scan and isinstance(theirs, Grid) and theirs.same_as(grid):
            return other
    return None


def changed_files(layer: SavedLayer) -> list[str]:
    """Names of the scan's files that are gone or differ from what they were."""
    return [
        Path(state.path).name
        for state in layer.scan_files
        if FileState.of(Path(state.path)) != state
    ]


def entry_of(one: Snapshot) -> SavedLayer:
    """What the index says of a layer."""
    dtype, shape = one.voxels.dtype.str, one.voxels.shape
    crc = _crc32(one.voxels)
    file = f"{one.key}-{crc:08x}.z"
    return SavedLayer(file=file, dtype=dtype, shape=shape, crc32=crc, **one.facts)


def _crc32(voxels: npt.NDArray[Any]) -> int:
    flat = np.ascontiguousarray(voxels)
    return zlib.crc32(flat.view(np.uint8).data) if flat.size else 0


def packed(voxels: npt.NDArray[Any]) -> bytes:
    """Voxels as they lie in the file."""
    flat = np.ascontiguousarray(voxels)
    return zlib.compress(flat.view(np.uint8).data if flat.size else b"", _FAST)


def attributes_of(layer: SavedLayer, source: Mapping[str, Any] | None) -> dict[str, Any]:
    """Attributes of the restored layer, on the source of its scan if there is one."""
    metadata: dict[str, Any] = {_KEY_OF_FILE: layer.file.split("-")[0], RUN_KEY: layer.runs}
    if source is not None:
        metadata[KEY] = {**source, "table": layer.table, "lead": "", "window": None}
    return {
        "name": layer.name,
        "scale": layer.scale,
        "translate": layer.translate,
        "units": ("mm",) * len(layer.shape),
        "opacity": 0.5,
        "metadata": metadata,
    }
