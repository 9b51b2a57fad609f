"""What autosave keeps of a Labels layer: a label map, and which scan it lies on."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.volume import Grid, Label, LabelMap, LabelTable, Provenance
from medseg.volume.label_map import as_label_values, present_values
from medseg.volume.label_table import default_color
from medseg_napari.label_features import complete_table
from medseg_napari.layers import (
    KEY,
    MAP_KEY,
    TRANSFORM,
    adopt,
    labels_from_layer,
    provenance_of,
    source_of,
    turned_by,
)
from medseg_napari.run_record import RunRecord, checksum, runs_of

if TYPE_CHECKING:
    from napari.layers import Layer

AUTOSAVE_KEY = "medseg_autosave_key"
"""Where ``layer.metadata`` keeps the random start of the names of a layer's files."""
_SAVED_KEY = "medseg_saved"
_STROKES_KEY = "medseg_strokes"
_VOLUME = 3


class FileState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of a scan was like; by size and time a change is noticed."""

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


class SavedScan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scan under a label map: what to open to have it again, and its files as they were."""

    path: str
    name: str
    series_uid: str = ""
    files: tuple[FileState, ...] = ()

    def changed_files(self) -> list[FileState]:
        """Files that are gone or differ from what they were."""
        return [state for state in self.files if FileState.of(Path(state.path)) != state]


class SavedLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One Labels layer of a session; its `file` is a label map with names, colours and codes.

    A layer that is no volume, such as one of two axes, or that is turned by a transform of its own,
    is kept as planes, and its own `shape` and transform with it; they are empty for other volumes.
    `placed` says whether it is known where the patient's left and right are.
    """

    file: str
    name: str
    selected: int
    runs: tuple[RunRecord, ...] = ()
    scan: SavedScan | None = None
    shape: tuple[int, ...] = ()
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    rotate: tuple[float, ...] = ()
    shear: tuple[float, ...] = ()
    affine: tuple[float, ...] = ()
    placed: bool = True


@dataclass(frozen=True)
class Checksums:
    """CRC-32 of the voxels, and of the names, colours and codes of a layer."""

    voxels: int
    table: int

    @classmethod
    def of(cls, data: npt.NDArray[Any], metadata: Mapping[str, Any]) -> Checksums:
        """Of a layer as it is."""
        return cls(checksum(data), cls.of_table(metadata))

    @staticmethod
    def of_table(metadata: Mapping[str, Any]) -> int:
        """Of the names, colours and codes alone."""
        table = (metadata.get(KEY) or {}).get("table")
        labels = [label for label in table or () if not _is_default(label)]
        return zlib.crc32(msgspec.json.encode(labels))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A Labels layer for another thread to write; its voxels are the layer's own, not a copy."""

    data: npt.NDArray[Any]
    attributes: dict[str, Any]
    selected: int
    scan: SavedScan | None
    saved: Checksums | None

    def frozen(self) -> tuple[LabelMap, Checksums]:
        """The voxels as they are now, and their checksums; what the person paints later is not in.

        Raises
        ------
        GeometryError, LabelError
            When the layer cannot lie in a patient, or its values are no labels.
        """
        data, metadata = np.array(self.data), self.attributes["metadata"]
        if self._is_straight_volume:
            # as of a scanner, so that the file keeps the whole affine; `placed` tells the truth
            labels = replace(labels_from_layer(data, self.attributes), provenance=Provenance())
        else:
            labels = _as_planes(data, (metadata.get(KEY) or {}).get("table"))
        return labels, Checksums.of(data, metadata)

    def entry(self, checksums: Checksums) -> SavedLayer:
        """What the session says of the layer."""
        key = self.attributes["metadata"][AUTOSAVE_KEY]
        return SavedLayer(
            file=f"{key}-{checksums.voxels:08x}{checksums.table:08x}.nii.gz",
            name=self.attributes["name"],
            selected=self.selected,
            runs=runs_of(self.attributes),
            scan=self.scan,
            placed=self._is_placed,
            **self._own_axes(),
        )

    @property
    def _is_straight_volume(self) -> bool:
        return self.data.ndim == _VOLUME and not turned_by(self.attributes)

    @property
    def _is_placed(self) -> bool:
        source = source_of(self.data, self.attributes)
        return source is not None and provenance_of(source).laterality_known

    def _own_axes(self) -> dict[str, Any]:
        if self._is_straight_volume:
            return {}
        own = {key: tuple(np.ravel(self.attributes[key]).tolist()) for key in TRANSFORM}
        return {"shape": self.data.shape, **own}


def snapshot(layer: Layer, layers: Iterable[Layer]) -> Snapshot:
    """Note how a Labels layer is, and on which of the layers it lies."""
    layer.metadata.setdefault(AUTOSAVE_KEY, uuid.uuid4().hex)
    data, attributes, _ = layer.as_layer_data_tuple()
    others = [other for other in layers if other is not layer]
    if source_of(data, attributes) is None:
        pairs = (other.as_layer_data_tuple()[:2] for other in others)
        attributes = adopt(data, attributes, pairs)
    attributes = {**attributes, "metadata": dict(attributes["metadata"])}
    scan = scan_of((attributes["metadata"].get(KEY) or {}).get("grid"), others)
    saved = layer.metadata.get(_SAVED_KEY)
    return Snapshot(data, attributes, int(layer.selected_label), _saved_scan(scan), saved)


def is_label_map(layer: object) -> bool:
    """Whether a layer holds labels of a person or model, not a map that medseg shows to look at."""
    from napari.layers import Labels

    return isinstance(layer, Labels) and not layer.metadata.get(MAP_KEY)


def is_unsaved(layer: Layer) -> bool:
    """Whether a label map holds labels that lie in no file of the person's as they are."""
    saved = layer.metadata.get(_SAVED_KEY)
    data = np.asarray(layer.data)
    return bool(data.any()) and saved != Checksums.of(data, layer.metadata)


def note_stroke(layer: Layer) -> None:
    """Remember that voxels of a layer have changed."""
    layer.metadata[_STROKES_KEY] = strokes_of(layer) + 1


def strokes_of(layer: Layer) -> int:
    """How often voxels of a layer have changed since it was saved."""
    return int(layer.metadata.get(_STROKES_KEY, 0))


def seems_unsaved(layer: Layer) -> bool:
    """As :func:`is_unsaved`, without a look at the voxels of a layer that was saved or read."""
    saved = layer.metadata.get(_SAVED_KEY)
    if saved is None:
        return bool(np.asarray(layer.data).any())
    return strokes_of(layer) > 0 or saved.table != Checksums.of_table(layer.metadata)


def mark_saved(
    data: npt.NDArray[Any], attributes: Mapping[str, Any], *, strokes: int | None = None
) -> None:
    """Remember that a layer with these voxels lies in a file of the person's.

    With `strokes` it has changed since when there were more than that.
    """
    metadata = attributes.get("metadata")
    if isinstance(metadata, dict):
        later = 0 if strokes is None else metadata.get(_STROKES_KEY, 0) - strokes
        metadata[_STROKES_KEY] = max(later, 0)
        metadata[_SAVED_KEY] = Checksums.of(np.asarray(data), metadata)


def knows_its_file(layer: Layer) -> bool:
    """Whether it is known what of the layer is kept or lies in a file of the person's."""
    return bool({AUTOSAVE_KEY, _SAVED_KEY} & set(layer.metadata))


def scan_of(grid: object, layers: Iterable[Layer]) -> Layer | None:
    """The Image layer on a grid; None when there is none."""
    for layer in layers:
        other = layer.metadata.get(KEY, {}).get("grid")
        is_scan = isinstance(other, Grid) and not hasattr(layer, "selected_label")
        if is_scan and isinstance(grid, Grid) and other.same_as(grid):
            return layer
    return None


def _saved_scan(scan: Layer | None) -> SavedScan | None:
    if scan is None:
        return None
    provenance = scan.metadata[KEY]["provenance"]
    path, files = scan.source.path, provenance.files
    if not path and files:
        path = files[0] if len(files) == 1 else files[0].parent
    states = (FileState.of(Path(file)) for file in files)
    present = tuple(state for state in states if state is not None)
    return SavedScan(str(path or ""), scan.name, provenance.series_uid, present)


def _as_planes(data: npt.NDArray[Any], table: LabelTable | None) -> LabelMap:
    """The values of a layer that is no volume as a stack of its last two axes, anywhere."""
    values = as_label_values(data.reshape(-1, *data.shape[-2:]))
    complete = complete_table(table or LabelTable(()), present_values(values))
    return LabelMap(values, Grid(values.shape, np.eye(4)), complete)


def _is_default(label: Label) -> bool:
    """Whether nobody said anything of a label: medseg gave its name and colour by itself."""
    plain = Label(value=label.value, name=f"label {label.value}", color=label.color)
    return label == plain and label.color in _default_colors()


@cache
def _default_colors() -> frozenset[tuple[int, int, int]]:
    return frozenset(default_color(row) for row in range(1024))
