"""Cases in a list: a CSV table, or the JSON that MONAI calls a datalist."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.discovery.cases import Case
from medseg.discovery.json_file import Json, read_json
from medseg.discovery.mask_files import Masks, check_structures
from medseg.discovery.scan_files import stem_of
from medseg.errors import InputError

TABLES = (".csv", ".tsv")
_IMAGE = re.compile(r"image(?:[_ ]?(\d+))?")
_MASK = re.compile(r"label[_ ](.+)")
_TRAINING, _VALIDATION = "training", "validation"


@dataclass(frozen=True)
class _Row:
    """One case as the list has it; `where` is its line or number, for errors."""

    where: str
    images: tuple[str, ...]
    label: str
    masks: Mapping[str, str]
    name: str = ""
    patient: str = ""
    fold: int | None = None


def is_case_list(path: Path) -> bool:
    """Whether a file is a list of cases."""
    if path.suffix.lower() in TABLES and path.is_file():
        columns = {name.strip().casefold() for name in _header(path)[0]}
        return any(map(_IMAGE.fullmatch, columns)) and any(
            name == "label" or _MASK.fullmatch(name) for name in columns
        )
    return path.suffix.lower() == ".json" and isinstance(read_json(path).get(_TRAINING), list)


def listed_cases(path: Path) -> tuple[tuple[Case, ...], Json]:
    """The cases of a list, whose paths start from its folder.

    Parameters
    ----------
    path : Path
        A CSV table (commas, semicolons or tabs) with the columns ``image`` (``image2`` or
        ``image_0000``, ``image_0001``... for channels) and ``label`` (or ``label_NAME`` for the
        mask of each structure), perhaps ``case``, ``patient`` and ``fold``; or JSON with the same
        words under "training", and under "validation" what fold 0 holds out.

    Returns
    -------
    cases : tuple of Case
        Sorted by name: that of the column ``case``, else of the label's file, with its folders
        where files are called alike.
    about : dict
        What else the JSON says, as labels and channels.

    Raises
    ------
    InputError
        When a file is missing, a line says too little, or two lines are one case.
    """
    table = path.suffix.lower() in TABLES
    about = {} if table else read_json(path)
    rows = _table_rows(path) if table else _json_rows(path, about)
    if not rows:
        raise InputError(f"the list '{path}' holds no case")
    count = len(rows[0].images)
    for row in rows:
        if len(row.images) != count:
            raise InputError(
                f"{row.where} of '{path}' has {len(row.images)} image(s) and {rows[0].where} has"
                f" {count}; every case needs the same channels",
                code="CHANNELS",
            )
    labels = [_label(path, row) for row in rows]
    names = _names(path, rows, labels)
    cases = [
        Case(
            name,
            tuple(_existing(path, row, image) for image in row.images),
            label,
            row.patient,
            row.fold,
        )
        for name, row, label in zip(names, rows, labels, strict=True)
    ]
    check_structures({case.name: case.label for case in cases if isinstance(case.label, Masks)})
    return tuple(sorted(cases, key=lambda case: case.name)), about


def _header(path: Path) -> tuple[list[str], str]:
    """The columns of a table, and what separates them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is no readable table ({error}); save it as UTF-8") from error
    delimiter = max(",;\t", key=line.count)
    return next(csv.reader([line], delimiter=delimiter), []), delimiter


def _table_rows(path: Path) -> list[_Row]:
    columns, delimiter = _header(path)
    names = [name.strip().casefold() for name in columns]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num, line) for line in reader][1:]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' is no readable table ({error}); save it as UTF-8") from error
    rows = []
    for number, line in lines:
        entry = {name: text.strip() for name, text in zip(names, line, strict=False)}
        if any(entry.values()):
            rows.append(_row(path, f"line {number}", entry))
    return rows


def _json_rows(path: Path, about: Json) -> list[_Row]:
    rows = []
    for key in (_TRAINING, _VALIDATION):
        for number, entry in enumerate(about.get(key) or [], start=1):
            where = f"entry {number} of '{key}'"
            if not isinstance(entry, dict):
                raise InputError(f"{where} in '{path}' is {entry!r}; give image and label")
            held_out = {"fold": 0} if key == _VALIDATION else {}
            rows.append(_row(path, where, {**held_out, **entry}))
    return rows


def _row(path: Path, where: str, entry: Mapping[str, Any]) -> _Row:
    """One case; images in the order of their numbers."""
    images: list[str] = []
    numbered = {match: key for key in entry if (match := _IMAGE.fullmatch(key.casefold()))}
    for match in sorted(numbered, key=lambda match: int(match[1] or -1)):
        value = entry[numbered[match]]
        images += [str(part) for part in value] if isinstance(value, list) else [str(value)]
    label: Any = entry.get("label") or ""
    masks = {
        match[1]: text for key, text in entry.items() if text and (match := _MASK.fullmatch(key))
    }
    if isinstance(label, dict):
        label, masks = "", {str(name): str(file) for name, file in label.items()}
    fold = str(entry.get("fold", "")).strip()
    if not all(images) or not images or not (label or masks) or isinstance(label, list):
        raise InputError(
            f"{where} of '{path}' lacks an image or a label: {', '.join(map(str, entry.values()))};"
            " each case needs both"
        )
    if fold and not fold.removesuffix(".0").isdigit():
        raise InputError(f"{where} of '{path}' has the fold '{fold}'; give a whole number from 0")
    return _Row(
        where,
        tuple(images),
        str(label),
        masks,
        str(entry.get("case") or entry.get("name") or ""),
        str(entry.get("patient") or ""),
        int(fold.removesuffix(".0")) if fold else None,
    )


def _existing(path: Path, row: _Row, name: str) -> Path:
    """A file that the list names, from the list's folder; backslashes of Windows are taken too."""
    for text in (name, name.replace("\\", "/")):
        file = path.parent / text
        if file.exists():
            return file
    raise InputError(
        f"{row.where} of '{path}' names '{name}', which is not in '{path.parent}'; paths start"
        " from the folder of the list",
        code="NOT_FOUND",
    )


def _label(path: Path, row: _Row) -> Path | Masks:
    if row.masks:
        return Masks.of({name: _existing(path, row, file) for name, file in row.masks.items()})
    return _existing(path, row, row.label)


def _names(path: Path, rows: Sequence[_Row], labels: Sequence[Path | Masks]) -> list[str]:
    """What the cases are called, no two alike."""
    files = [label.paths[0] if isinstance(label, Masks) else label for label in labels]
    short = [row.name or stem_of(file) or file.name for row, file in zip(rows, files, strict=True)]
    if len(set(short)) < len(short):
        relative = [Path(os.path.relpath(file, path.parent)).parent.parts for file in files]
        short = [
            row.name or "_".join([*(part for part in parts if part != ".."), name])
            for row, parts, name in zip(rows, relative, short, strict=True)
        ]
    first: dict[str, _Row] = {}
    for name, row in zip(short, rows, strict=True):
        if name in first:
            raise InputError(
                f"{first[name].where} and {row.where} of '{path}' would both be the case '{name}';"
                " keep one of them, or name them in a column 'case'",
                code="TWO_FILES",
            )
        first[name] = row
    return short
