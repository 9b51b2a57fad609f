"""A label schema as rows of text that a person edits, and as a JSON file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from medseg.errors import LabelError, ReadError
from medseg.volume import Code, Label, LabelTable
from medseg.volume.label_table import STRUCTURE, TISSUE

COLUMNS = ("Value", "Name", "Colour", "Code", "Scheme", "Meaning", "Category")
"""Colour is written ``#rrggbb``; code, scheme and meaning are all given or all left out. An empty
category is an anatomical structure where there is a code, else some tissue."""

CATEGORIES = (
    STRUCTURE,
    TISSUE,
    Code("49755003", "SCT", "Morphologically Abnormal Structure"),
    Code("91720002", "SCT", "Body Substance"),
    Code("260787004", "SCT", "Physical object"),
    Code("246464006", "SCT", "Function"),
    Code("309825002", "SCT", "Spatial and Relational Concept"),
)
"""What DICOM offers (CID 7150, Segmentation Property Categories)."""

SNOMED = "SCT"
_SNOMED_DIGITS = (6, 18)
_OTHER_CATEGORY = re.compile(r"(\S+) (\S+) '(.*)'")  # scheme, value, meaning
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")
_LONGEST_CODE = 16  # characters in DICOM's value representation SH


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    medseg_labels: tuple[Label, ...]


def rows_of(table: LabelTable) -> list[list[str]]:
    """The table as text, one row for each label in the order of `COLUMNS`."""
    return [
        [
            str(label.value),
            label.name,
            f"#{bytes(label.color).hex()}",
            *_code_text(label.code),
            _category_text(label.category),
        ]
        for label in table
    ]


def table_of_rows(rows: Sequence[Sequence[str]]) -> LabelTable:
    """The table that rows of text describe.

    Raises
    ------
    LabelError
        When a cell cannot be used; the sentence names the row and the cell.
    """
    labels = [_label(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, 1)]
    return LabelTable(tuple(sorted(labels, key=lambda label: label.value)))


def read_schema(path: Path) -> LabelTable:
    """Read a schema that :func:`write_schema` wrote.

    Raises
    ------
    ReadError
        When it is no such file; the sentence names the place.
    LabelError
        When values or names repeat.
    """
    try:
        return LabelTable(msgspec.json.decode(path.read_bytes(), type=_File).medseg_labels)
    except OSError as error:
        raise ReadError(f"'{path.name}' cannot be read: {error.strerror or error}") from error
    except msgspec.MsgspecError as error:
        raise ReadError(f"'{path.name}' is no label schema of medseg: {error}") from error


def write_schema(table: LabelTable, path: Path) -> None:
    """Write a schema as JSON, whole or not at all."""
    from medseg.writing import atomic

    text = msgspec.json.format(msgspec.json.encode(_File(table.labels)), indent=1)
    with atomic(path, suffix=".json") as temporary:
        temporary.write_bytes(text + b"\n")


def _label(number: int, cells: list[str]) -> Label:
    value, name, color, *code = cells[:6]
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise LabelError(f"row {number}: the value '{value}' is no whole number from 1 to 65535")
    if not name:
        raise LabelError(f"row {number}: value {value} needs a name")
    return Label.coded(
        int(value),
        name,
        _color(number, color),
        category=_category(number, "".join(cells[6:])),
        type_code=_code(number, code) or TISSUE,
    )


def _category(number: int, text: str) -> Code:
    """The category of that name; one without a value when there is no name."""
    by_meaning = {category.meaning.casefold(): category for category in CATEGORIES}
    other = _OTHER_CATEGORY.fullmatch(text)
    if not text:
        return Code("", "", "")
    if text.casefold() in by_meaning:
        return by_meaning[text.casefold()]
    if other:
        return Code(other[2], other[1], other[3])
    raise LabelError(
        f"row {number}: '{text}' is no category; choose one of"
        f" {', '.join(category.meaning for category in CATEGORIES)}, or leave it empty"
    )


def _category_text(category: Code | None) -> str:
    if category is None:
        return ""
    if category in CATEGORIES:
        return category.meaning
    return f"{category.scheme} {category.value} '{category.meaning}'"


def _color(number: int, text: str) -> tuple[int, int, int]:
    match = _HEX.fullmatch(text)
    if match is None:
        raise LabelError(f"row {number}: the colour '{text}' is not written like #e69f00")
    red, green, blue = bytes.fromhex(match[1])
    return red, green, blue


def _code(number: int, cells: list[str]) -> Code | None:
    value, scheme, meaning = cells
    if not any(cells):
        return None
    if not (value and meaning):
        raise LabelError(f"row {number}: a code needs its number and its meaning, or neither")
    scheme = scheme or SNOMED
    if len(value) > _LONGEST_CODE + 2 or len(scheme) > _LONGEST_CODE:
        raise LabelError(f"row {number}: the code '{scheme} {value}' is longer than DICOM allows")
    if scheme == SNOMED and not _is_snomed(value):
        raise LabelError(
            f"row {number}: '{value}' is no SNOMED CT code (6 to 18 digits whose last one checks);"
            " look it up, or name another scheme"
        )
    return Code(value, scheme, meaning)


def _is_snomed(value: str) -> bool:
    low, high = _SNOMED_DIGITS
    return value.isdecimal() and low <= len(value) <= high and _verhoeff(value) == 0


def _verhoeff(digits: str) -> int:
    """The check of a SNOMED CT identifier: 0 when its last digit is right.

    References
    ----------
    SNOMED International, Release File Specification 5.5: Verhoeff's dihedral check.
    """
    check = 0
    for position, digit in enumerate(reversed(digits)):
        check = _dihedral(check, _turned(int(digit), position % 8))
    return check


def _dihedral(a: int, b: int) -> int:
    """The product in the dihedral group of order 10."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def _turned(digit: int, times: int) -> int:
    for _ in range(times):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def _code_text(code: Code | None) -> list[str]:
    return [code.value, code.scheme, code.meaning] if code else ["", "", ""]
