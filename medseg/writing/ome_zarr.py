"""OME-Zarr 0.4: a folder of zlib chunks and JSON that viewers read part by part.

https://ngff.openmicroscopy.org/0.4: axes are channels, z, y, x; a scale and a translation place the
voxels, which cannot say how a scan is turned. Where it lies in RAS+ mm stands under ``medseg``.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import uuid
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import WriteError
from medseg.volume import Scan
from medseg.volume.conventions import from_kji
from medseg.writing._atomic import flush_to_disk
from medseg.writing._selfcheck import check_read_back

suffixes = (".ome.zarr",)

_EDGE = 64
"""Voxels along each side of a chunk."""
_LEVEL = 3
"""Of zlib, from 1 (quick) to 9."""


def write_scan(scan: Scan, path: Path) -> None:
    """Write a scan as one resolution; an existing folder of the same format is replaced.

    The form is that of :class:`medseg.writing.protocol.ScanWriter`.
    """
    if path.exists() and not (path / ".zattrs").is_file():
        raise WriteError(f"'{path}' exists and is no OME-Zarr; choose another name", code="EXISTS")
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.ome.zarr")
    try:
        temporary.mkdir()
        _json(temporary / ".zgroup", {"zarr_format": 2})
        _json(temporary / ".zattrs", _attributes(scan, path.name.removesuffix(suffixes[0])))
        _write_array(from_kji(scan.voxels), temporary / "0")
        check_read_back(
            scan.voxels, from_kji(_read_array(temporary / "0")), scan.grid, scan.grid.affine
        )
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _attributes(scan: Scan, name: str) -> dict[str, Any]:
    """What says how the voxels lie and what the channels are."""
    i, j, k = scan.grid.spacing_mm
    unit = {"unit": "millimeter"} if scan.provenance.has_physical_size else {}
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", **unit} for axis in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, k, j, i]}]
    top = 255 if scan.voxels.dtype == np.uint8 else float(scan.voxels.max())
    names = scan.channel_names or tuple(f"channel {n}" for n in range(scan.channels))
    window = {"start": 0, "end": top, "min": 0, "max": top}
    channels = [
        {"label": name, "active": True, "color": "FFFFFF", "window": window} for name in names
    ]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    return {
        "multiscales": [{"version": "0.4", "name": name, "axes": axes, "datasets": datasets}],
        "omero": {"version": "0.4", "channels": channels},
        "medseg": {"affine_ijk_to_ras_mm": scan.grid.affine.tolist()},
    }


def _write_array(array: npt.NDArray[Any], folder: Path) -> None:
    """A zarr array of version 2: ``.zarray`` and a file for each chunk."""
    chunks = [1, *(min(_EDGE, n) for n in array.shape[1:])]
    stored = array.astype(array.dtype.newbyteorder("<"), copy=False)
    folder.mkdir()
    facts = {
        "zarr_format": 2,
        "shape": list(array.shape),
        "chunks": chunks,
        "dtype": stored.dtype.str,
        "compressor": {"id": "zlib", "level": _LEVEL},
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }
    _json(folder / ".zarray", facts)
    counts = (math.ceil(n / size) for n, size in zip(array.shape, chunks, strict=True))
    for index in itertools.product(*map(range, counts)):
        chunk = np.zeros(chunks, stored.dtype)
        part = stored[_box(index, chunks)]
        chunk[tuple(slice(0, n) for n in part.shape)] = part
        if chunk.any():  # a chunk that is not there is 0
            file = folder.joinpath(*map(str, index))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(zlib.compress(chunk.tobytes(), _LEVEL))


def _read_array(folder: Path) -> npt.NDArray[Any]:
    """What the files give back."""
    facts = json.loads((folder / ".zarray").read_text())
    array = np.zeros(facts["shape"], facts["dtype"])
    for file in folder.rglob("*"):
        if file.is_file() and file.name != ".zarray":
            index = tuple(map(int, file.relative_to(folder).parts))
            box = _box(index, facts["chunks"])
            chunk = np.frombuffer(zlib.decompress(file.read_bytes()), array.dtype)
            part = chunk.reshape(facts["chunks"])
            array[box] = part[tuple(slice(0, n) for n in array[box].shape)]
    return array


def _box(index: tuple[int, ...], chunks: list[int]) -> tuple[slice, ...]:
    return tuple(slice(n * size, (n + 1) * size) for n, size in zip(index, chunks, strict=True))


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
