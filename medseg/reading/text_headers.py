"""What the text header of NRRD and MetaImage files says about lengths and sides, or leaves open.

ITK takes 1 mm and the patient's axes for what a header does not say, or says in words it skips.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from medseg.errors import GeometryError, ReadError

_PREFIXES = {"milli": 1.0, "centi": 10.0, "": 1000.0, "micro": 1e-3, "nano": 1e-6}
_MM_OF_UNIT = {f"{prefix}met{end}": mm for prefix, mm in _PREFIXES.items() for end in ("er", "re")}
_MM_OF_UNIT |= {"mm": 1.0, "cm": 10.0, "m": 1000.0, "nm": 1e-6, "inch": 25.4, "in": 25.4}
_MM_OF_UNIT |= dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron"), 1e-3)
_PATIENT_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior")
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_SHORT = {"".join(word[0] for word in space.split("-")): space for space in _PATIENT_SPACES}
_SHORT |= {f"{letters}t": f"{space}-time" for letters, space in _SHORT.items()}
_AS_WRITTEN = {  # of which ITK does not turn the axes
    "right-anterior-superior-time": "RAS",
    "left-anterior-superior-time": "LAS",
}
_UNIT_LENGTH = 1e-3  # how far from 1 the length of a direction may be
_OF_PATTERN = ("%", "LIST")
_LONGEST_HEADER = 1 << 20


class StatedLengths(msgspec.Struct, frozen=True):
    """What a header says of lengths and sides.

    Parameters
    ----------
    mm : float
        Millimetres in one of its units of length.
    notes : tuple of str
        What it leaves open, or was converted.
    laterality_known : bool
        Whether it says which side of the patient is which.
    has_physical_size : bool
        Whether it says how far apart voxels are.
    world : str
        Sides that the axes grow towards by which ITK gives places.
    """

    mm: float = 1.0
    notes: tuple[str, ...] = ()
    laterality_known: bool = True
    has_physical_size: bool = True
    world: str = "LPS"


def stated_lengths(path: Path) -> StatedLengths:
    """Read them from the beginning of a .nrrd, .nhdr, .mha or .mhd file.

    Raises
    ------
    GeometryError
        Code ``UNKNOWN_SPACING``, when directions or spacings are not numbers.
    ReadError
        Code ``NOT_FOUND``, when the file with the voxels is not there.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    return (_nrrd if path.suffix in (".nrrd", ".nhdr") else _metaimage)(path, start)


def _nrrd(path: Path, start: bytes) -> StatedLengths:
    """As the format defines its fields: https://teem.sourceforge.net/nrrd/format.html ."""
    text = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0].decode("utf-8", "replace")
    fields = _fields(text, ": ")
    _check_data_file(path, fields.get("data file") or fields.get("datafile") or "")
    directions, spacings = fields.get("space directions", ""), fields.get("spacings", "")
    if directions:
        _check_axes("space directions", directions.replace("none", ""))
    else:
        _check_spacings(fields)
    space = fields.get("space", "").lower().replace(" ", "-")
    space = _SHORT.get(space, space)
    plain = space.removesuffix("-time")
    if plain not in ("", *_PATIENT_SPACES, *_OTHER_SPACES):
        spaces = ", ".join((*_PATIENT_SPACES, *_OTHER_SPACES))
        raise GeometryError(
            f"its field 'space' is '{space[:60]}', which no reader can place; known are {spaces}",
            code="UNKNOWN_SPACE",
        )
    oriented = bool(directions) and plain in _PATIENT_SPACES
    unit = nrrd_unit(fields)
    stated = _stated(unit, oriented=oriented, measured=bool(directions or spacings))
    stated = _with_origin(stated, "space origin", fields.get("space origin", ""))
    return replace(stated, world=_AS_WRITTEN.get(space, stated.world))


def nrrd_unit(fields: Mapping[str, str]) -> str:
    """The unit of length of a NRRD's fields, which have names in small letters; empty without one.

    Raises
    ------
    GeometryError
        Code ``UNITS``, when its axes have different ones.
    """
    text = fields.get("space units") or fields.get("units") or ""
    units = [unit for unit in re.findall(r'"([^"]*)"', text)[:3] if unit]
    lengths = {mm_in(unit) for unit in units} - {None}
    if len(lengths) > 1:
        raise GeometryError(
            f"its axes have different units of length ({text[:60]}); write it with one of them",
            code="UNITS",
        )
    lengths_first: list[str] = sorted(units, key=lambda unit: mm_in(unit) is None)
    return [*lengths_first, ""][0]


def metaimage_unit(fields: Mapping[str, str]) -> str:
    """The unit of length of a MetaImage's fields; empty without one."""
    return fields.get("distanceunits", "").strip('"?')


def mm_in(unit: str) -> float | None:
    """Millimetres in a unit of length by its word; None for words that are not known."""
    return _MM_OF_UNIT.get(unit.lower().removesuffix("s") if len(unit) > 2 else unit.lower())


def _check_spacings(fields: Mapping[str, str]) -> None:
    """Raise `GeometryError` unless spacings, if there are any, are there for each axis of place."""
    spacings = fields.get("spacings", "").split()
    kinds = fields.get("kinds", "").split()
    of_place = sum(kind in ("domain", "space", "???", "none") for kind in kinds) if kinds else 3
    stated = [word for word in spacings if "nan" not in word.lower()]
    if spacings and len(stated) < min(of_place, len(fields.get("sizes", "").split()), 3):
        raise _unusable("spacings", fields["spacings"])
    _check_distances("spacings", " ".join(stated))


def _metaimage(path: Path, start: bytes) -> StatedLengths:
    """As the format defines its fields: https://itk.org/Wiki/MetaIO/Documentation ."""
    head = re.split(rb"(?m)^ElementDataFile *= *LOCAL", start, maxsplit=1)[0]
    fields = _fields(head.decode("utf-8", "replace"), "=")
    _check_data_file(path, fields.get("elementdatafile", ""))
    matrix = next(
        (fields[k] for k in ("transformmatrix", "rotation", "orientation") if k in fields), ""
    )
    spacing = fields.get("elementspacing") or fields.get("elementsize") or ""
    if matrix:
        _check_axes("TransformMatrix", matrix)
    _check_distances("ElementSpacing", spacing)
    unit = metaimage_unit(fields)
    stated = _stated(unit, oriented=bool(matrix), measured=bool(spacing))
    origin = next((fields[k] for k in ("offset", "position", "origin") if k in fields), "")
    stated = _with_origin(stated, "Offset", origin)
    if not matrix or _are_units(matrix):
        return stated
    note = "the axes of its TransformMatrix are no unit vectors; spacings are multiplied by them"
    return replace(stated, notes=(*stated.notes, note))


def _fields(text: str, between: str) -> dict[str, str]:
    """Fields of a header by their names in small letters."""
    rows = (line.partition(between) for line in text.splitlines() if not line.startswith("#"))
    return {name.strip().lower(): value.strip() for name, sign, value in rows if sign}


def _numbers(text: str) -> list[float]:
    """The numbers of a field; `ValueError` when a word is none."""
    return [float(word) for word in re.split(r"[\s(),]+", text) if word]


def _check_distances(field: str, text: str) -> None:
    """Raise `GeometryError` for distances that are no numbers, or 0."""
    try:
        usable = all(math.isfinite(number) and number != 0 for number in _numbers(text))
    except ValueError:
        usable = False
    if not usable:
        raise _unusable(field, text)


def _check_axes(field: str, text: str) -> None:
    """Raise `GeometryError` for axes that are no numbers, or lie in one plane."""
    try:
        numbers = np.array(_numbers(text))
    except ValueError:
        numbers = np.array([math.nan])
    if not np.isfinite(numbers).all() or (
        numbers.size == 9 and np.linalg.matrix_rank(numbers.reshape(3, 3)) < 3
    ):
        raise _unusable(field, text)


def _are_units(matrix: str) -> bool:
    """Whether the axes of a matrix have length 1, as those of directions do."""
    numbers = np.array(_numbers(matrix))
    side = math.isqrt(numbers.size)
    lengths = np.linalg.norm(numbers[: side * side].reshape(side, side), axis=1)
    return bool(np.abs(lengths - 1).max() < _UNIT_LENGTH)


def _unusable(field: str, text: str) -> GeometryError:
    return GeometryError(
        f"its field '{field}' is {text[:60]}, so how far apart its voxels are is not known; write"
        " the spacing into the header",
        code="UNKNOWN_SPACING",
    )


def _with_origin(stated: StatedLengths, field: str, text: str) -> StatedLengths:
    """A note where the header does not say where the first voxel lies, in numbers."""
    try:
        if not text or all(map(math.isfinite, _numbers(text))):
            return stated
    except ValueError:
        pass
    note = f"its field '{field}' is {text[:60]}: where it lies is not known, 0 is assumed"
    return replace(stated, notes=(*stated.notes, note))


def _check_data_file(path: Path, name: str) -> None:
    """Raise `ReadError` when the one file that the voxels are in is not there."""
    is_other = name and name.upper() != "LOCAL" and not any(mark in name for mark in _OF_PATTERN)
    if is_other and not (path.parent / name).is_file():
        raise ReadError(
            f"its voxels are in the file '{name}', which is not there; put it beside the header",
            code="NOT_FOUND",
        )


def _stated(unit: str, *, oriented: bool, measured: bool) -> StatedLengths:
    """What follows from a unit ("" for none), and from what is there."""
    mm = mm_in(unit)
    notes = []
    if not measured:
        notes.append("the header gives no spacing; 1 mm is assumed")
    if mm is None and unit:
        notes.append(f"the header gives lengths in '{unit}'; they are taken as mm")
    elif mm not in (None, 1.0):
        notes.append(f"the header gives lengths in {unit}; they are converted to mm")
    if not oriented:
        notes.append(
            "the header does not say how its axes lie in the patient: left and right are not known"
            " for certain"
        )
    return StatedLengths(mm or 1.0, tuple(notes), oriented, measured)
