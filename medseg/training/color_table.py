"""Label names in the colour tables of ITK-SNAP, 3D Slicer and FreeSurfer."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.errors import InputError
from medseg.volume import LabelTable
from medseg.volume.label_table import Label

_NUMBER = r"\s+(\d{1,3})"
_ITK_SNAP = re.compile(
    rf'(?P<value>\d+){_NUMBER}{_NUMBER}{_NUMBER}\s+[\d.]+\s+[01]\s+[01]\s+"(?P<name>.*)"'
)
_SLICER = re.compile(rf"(?P<value>\d+)\s+(?P<name>\S+){_NUMBER}{_NUMBER}{_NUMBER}(\s+[\d.]+)?")
"""FreeSurfer's, too."""


def read_color_table(path: Path, text: str) -> LabelTable:
    """Labels of a colour table; value 0 is passed over, as are empty lines and comments.

    Parameters
    ----------
    path : Path
        For messages.
    text : str
        ITK-SNAP's label descriptions (``IDX R G B A VIS MSH "NAME"``), or rows ``IDX NAME R G B A``
        as 3D Slicer (.ctbl) and FreeSurfer write them. A name's underscores become spaces.

    Raises
    ------
    InputError
        When a line is neither.
    LabelError
        When values or names repeat.
    """
    labels = []
    for number, line in enumerate(text.splitlines(), start=1):
        row = line.strip()
        if not row or row.startswith("#"):
            continue
        match = _ITK_SNAP.fullmatch(row) or _SLICER.fullmatch(row)
        if match is None:
            raise InputError(
                f"'{path}' is neither JSON nor a colour table of ITK-SNAP, 3D Slicer or FreeSurfer:"
                f' line {number} is \'{row[:60]}\'; give a JSON file such as {{"1": "liver"}}'
            )
        red, green, blue = (min(int(part), 255) for part in match.groups()[_colours(match)])
        name = match["name"].replace("_", " ").strip()
        labels.append(Label(value=int(match["value"]), name=name, color=(red, green, blue)))
    return LabelTable(
        tuple(sorted((row for row in labels if row.value), key=lambda row: row.value))
    )


def _colours(match: re.Match[str]) -> slice:
    """Where the three colours are among the groups."""
    return slice(1, 4) if match.re is _ITK_SNAP else slice(2, 5)
