"""Label names in JSON, in the forms in which datasets write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from medseg.errors import InputError, LabelError
from medseg.planning.plan import decode
from medseg.volume import Label, LabelTable
from medseg.volume.label_table import default_color

Json = dict[str, Any]


def read_json(path: Path) -> Json:
    """A JSON object, or an empty one when there is no such file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        When the file is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is no readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"'{path}' must hold a JSON object, got {type(value).__name__}")
    return value


def read_label_table(path: Path) -> LabelTable:
    """Labels of a JSON file; see :func:`label_table` for its forms.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    LabelTable

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    if not path.is_file():
        raise InputError(f"no label file '{path}'")
    return label_table(read_json(path), where=path)


def label_table(plain: Json, *, where: Path) -> LabelTable:
    """A table from one of the forms in which datasets write labels.

    Parameters
    ----------
    plain : dict
        ``{"1": "liver"}`` (Decathlon), ``{"liver": 1}`` (nnU-Net), or ``{"labels": [...]}`` with
        values, names, colours and codes as a model's manifest has them; or a ``dataset.json``
        with one of these under "labels".
    where : Path
        For messages.

    Returns
    -------
    LabelTable

    Raises
    ------
    LabelError
        When a label is a region of several values, or is no number.
    """
    inner = plain.get("labels")
    if isinstance(inner, dict):
        return label_table(inner, where=where)
    if isinstance(inner, list):
        return decode(msgspec.json.encode(plain), LabelTable, where=str(where))
    rows: dict[int, str] = {}
    for key, value in plain.items():
        text, number = (value, key) if key.isdigit() else (key, value)
        if not isinstance(number, int | str) or not str(number).isdigit():
            raise LabelError(
                f"label '{text}' of '{where}' has the value {number}; give one whole number"
            )
        rows[int(number)] = str(text)
    rows.pop(0, None)
    return LabelTable(tuple(
        Label(value=value, name=name, color=default_color(row))
        for row, (value, name) in enumerate(sorted(rows.items()))
    ))  # fmt: skip
