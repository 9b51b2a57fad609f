"""What the text header of NRRD and MetaImage files says about lengths and sides, or leaves open.

ITK takes 1 mm and the patient's axes for what a header does not say, or says in words it skips.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from medseg.errors import GeometryError, ReadError

_MM_OF_UNIT = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimetre": 1.0,
    "cm": 10.0,
    "m": 1000.0,
    "meter": 1000.0,
    "metre": 1000.0,
    "um": 1e-3,
    "\u00b5m": 1e-3,
    "\u03bcm": 1e-3,
    "micron": 1e-3,
    "micrometer": 1e-3,
    "nm": 1e-6,
}
_PATIENT_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior")
_SHORT_SPACES = ("ras", "las", "lps")
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
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
    """

    mm: float = 1.0
    notes: tuple[str, ...] = ()
    laterality_known: bool = True
    has_physical_size: bool = True


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
    kinds = fields.get("kinds", "").split()
    of_place = sum(kind in ("domain", "space", "???", "none") for kind in kinds) if kinds else 3
    _check_numbers("space directions", directions.replace("none", ""))
    if not directions and spacings:
        number = sum(not _is_nan(word) for word in spacings.split())
        if number < min(of_place, len(fields.get("sizes", "").split()), 3):
            _check_numbers("spacings", spacings)
    units = re.findall(r'"([^"]*)"', fields.get("space units") or fields.get("units") or "")
    space = fields.get("space", "").lower().removesuffix("-time")
    oriented = bool(directions) and space in (*_PATIENT_SPACES, *_SHORT_SPACES)
    if space not in ("", *_PATIENT_SPACES, *_SHORT_SPACES, *_OTHER_SPACES):
        spaces = ", ".join((*_PATIENT_SPACES, *_OTHER_SPACES))
        raise GeometryError(
            f"its field 'space' is '{space[:60]}', which no reader can place; known are {spaces}",
            code="UNKNOWN_SPACE",
        )
    return _stated([*units, ""][0], oriented=oriented, measured=bool(directions or spacings))


def _metaimage(path: Path, start: bytes) -> StatedLengths:
    """As the format defines its fields: https://itk.org/Wiki/MetaIO/Documentation ."""
    head = re.split(rb"(?m)^ElementDataFile *= *LOCAL", start, maxsplit=1)[0]
    fields = _fields(head.decode("utf-8", "replace"), "=")
    _check_data_file(path, fields.get("elementdatafile", ""))
    matrix = next(
        (fields[k] for k in ("transformmatrix", "rotation", "orientation") if k in fields), ""
    )
    spacing = fields.get("elementspacing") or fields.get("elementsize") or ""
    _check_numbers("TransformMatrix", matrix)
    _check_numbers("ElementSpacing", spacing)
    unit = fields.get("distanceunits", "").strip('"?')
    return _stated(unit, oriented=bool(matrix), measured=bool(spacing))


def _fields(text: str, between: str) -> dict[str, str]:
    """Fields of a header by their names in small letters."""
    rows = (line.partition(between) for line in text.splitlines() if not line.startswith("#"))
    return {name.strip().lower(): value.strip() for name, sign, value in rows if sign}


def _is_nan(word: str) -> bool:
    return "nan" in word.lower()


def _check_numbers(field: str, text: str) -> None:
    """Raise `GeometryError` for numbers that are none."""
    if _is_nan(text) or "inf" in text.lower():
        raise GeometryError(
            f"its field '{field}' is {text[:60]}, so how far apart its voxels are is not known;"
            " write the spacing into the header",
            code="UNKNOWN_SPACING",
        )


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
    mm = _MM_OF_UNIT.get(unit.lower().removesuffix("s") if len(unit) > 2 else unit.lower())
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
