"""What the headers of NIfTI, NRRD, MetaImage and GIPL files say, for a search over many.

Only the first bytes of a file are read, and nothing is refused: what is not understood here is
for the readers to judge.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.discovery.stack_facts import Fact, of_grid
from medseg.errors import GeometryError
from medseg.reading.nifti import affine_mm
from medseg.reading.text_headers import metaimage_unit, mm_in, nrrd_unit
from medseg.volume import Grid
from medseg.volume.conventions import affine_from_itk

_MOST_HEADER = 1 << 16
_MOST_VOXELS = 1 << 31  # along an axis
_SPACES = {
    "left-posterior-superior": "LPS",
    "lps": "LPS",
    "right-anterior-superior": "RAS",
    "ras": "RAS",
}
_VECTOR = re.compile(r"\(([^)]*)\)")


def facts_of_file(path: Path) -> dict[str, Fact]:
    """Format, size, spacing and orientation, as far as the header tells."""
    name = path.name.lower().removesuffix(".gz")
    format_name, read = next(
        (handler for ending, handler in _FORMATS.items() if name.endswith(ending)),
        ("picture", None),
    )
    facts: dict[str, Fact] = {"format": format_name}
    if read is None:
        return facts
    try:
        with np.errstate(all="ignore"):
            return facts | read(_beginning(path))
    except (OSError, EOFError, ValueError, LookupError, struct.error, GeometryError):
        return facts


def _beginning(path: Path) -> bytes:
    """The first bytes, gunzipped when they start as gzip does."""
    from isal import igzip, isal_zlib

    damaged: Any = isal_zlib.error
    with path.open("rb") as file:
        start = file.read(_MOST_HEADER)
        if start[:2] != b"\x1f\x8b":
            return start
        file.seek(0)
        try:
            with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
                return bytes(stream.read(_MOST_HEADER))
        except damaged as error:
            raise ValueError("damaged") from error


def _nifti(start: bytes) -> dict[str, Fact]:
    import nibabel as nib

    is_second = start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
    try:
        kind = nib.Nifti2Header if is_second else nib.Nifti1Header
        header = kind(start[: kind.template_dtype.itemsize], check=False)
        sizes = header.get_data_shape()
        return _facts(sizes[:3], affine_mm(header), volumes=sizes[3:])
    except Exception as error:  # nibabel raises of many kinds on damaged bytes
        raise ValueError("damaged") from error


def _nrrd(start: bytes) -> dict[str, Fact]:
    """From the lines before the first empty one.

    References
    ----------
    https://teem.sourceforge.net/nrrd/format.html
    """
    fields = _fields(re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0], ":")
    sizes = [int(size) for size in fields["sizes"].split()]
    axes = [
        _floats(vector.replace(",", " ")) for vector in _VECTOR.findall(fields["space directions"])
    ]
    origin = _floats(_VECTOR.findall(fields["space origin"])[0].replace(",", " "))
    directions = fields["space directions"].split()
    channel_axis = directions.index("none") if "none" in directions else -1
    spatial = [size for n, size in enumerate(sizes) if n != channel_axis]
    steps = np.transpose(axes)
    spacing = np.linalg.norm(steps, axis=0)
    if _SPACES[fields["space"].lower()] == "LPS":
        affine = affine_from_itk(spacing, origin, steps / spacing)
    else:
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = steps, origin
    mm = mm_in(nrrd_unit(fields)) or 1.0
    volumes = [sizes[channel_axis]] if channel_axis >= 0 else []
    return _facts(spatial, np.diag([mm, mm, mm, 1.0]) @ affine, volumes=volumes)


def _metaimage(start: bytes) -> dict[str, Fact]:
    """From the lines before the data; axes are the rows of its matrix, LPS+.

    References
    ----------
    https://itk.org/Wiki/ITK/MetaIO/Documentation
    """
    fields = _fields(start.split(b"ElementDataFile")[0], "=")
    sizes = [int(size) for size in fields["dimsize"].split()]
    spacing = _floats(fields.get("elementspacing") or fields["elementsize"])
    count = len(sizes)
    matrix = next(
        (fields[key] for key in ("transformmatrix", "orientation", "rotation") if key in fields),
        " ".join(str(float(x)) for x in np.eye(count).ravel()),
    )
    origin = next(
        (fields[key] for key in ("offset", "position", "origin") if key in fields), "0 " * count
    )
    rows = np.reshape(_floats(matrix), (count, count))[:3, :3]
    mm = mm_in(metaimage_unit(fields)) or 1.0
    affine = affine_from_itk(mm * spacing[:3], mm * _floats(origin)[:3], rows.T)
    return _facts(sizes[:3], affine, volumes=sizes[3:])


def _gipl(start: bytes) -> dict[str, Fact]:
    """Sizes and spacing; GIPL has no orientation."""
    sizes = struct.unpack(">4H", start[:8])
    spacing = struct.unpack(">4f", start[10:26])
    grid = Grid((sizes[0], sizes[1], max(sizes[2], 1)), np.diag([*spacing[:3], 1.0]))
    return {"slices": grid.shape[2], "spacing_mm": list(grid.spacing_mm)}


def _facts(
    sizes: Sequence[int], affine: npt.NDArray[np.float64], *, volumes: Sequence[int]
) -> dict[str, Fact]:
    i, j, k, *_ = [*(int(size) for size in sizes), 1, 1, 1]
    volume_count = math.prod(int(count) for count in volumes)
    if max(i, j, k, volume_count) > _MOST_VOXELS:
        raise ValueError("no size of an image")
    counts = {"Columns": i, "Rows": j, "volumes": max(volume_count, 1)}
    return {**counts, **of_grid(Grid((i, j, k), affine))}


def _fields(header: bytes, mark: str) -> Mapping[str, str]:
    """Lines of the form "name: value"."""
    lines = header.decode("latin-1").splitlines()
    parts = [line.split(mark, 1) for line in lines if mark in line]
    return {name.strip().lower(): value.strip(" =") for name, value in parts}


def _floats(text: str) -> npt.NDArray[np.float64]:
    return np.array([float(number) for number in text.split()])


_FORMATS = {
    ".nii": ("nifti", _nifti),
    ".nrrd": ("nrrd", _nrrd),
    ".mha": ("metaimage", _metaimage),
    ".mhd": ("metaimage", _metaimage),
    ".gipl": ("gipl", _gipl),
}
