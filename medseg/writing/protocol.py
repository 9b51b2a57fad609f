"""What a file format must offer to be written: a file in this folder with these names.

An entry point ``medseg.writers`` of an installed package may name such a module too.

`write_labels` and `write_scan` are both optional, but one of them must be there. The file name is
the public name of the format. A format that can store
labels in several ways lists them in `encodings`, and its `write_labels` takes one as `encoding`. A
format that cannot hold every label map has an `obstacle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medseg.volume import LabelMap, Scan


@dataclass(frozen=True)
class Obstacle:
    """Why a format cannot hold a label map.

    Parameters
    ----------
    code : str
    reason : str
        What follows the name of the file or format, with what to do: ``"needs a DICOM series..."``.
    """

    code: str
    reason: str


class Writer(Protocol):
    """The endings a format is known by."""

    suffixes: tuple[str, ...]


class LabelWriter(Writer, Protocol):
    """A format that holds label maps."""

    def write_labels(self, labels: LabelMap, path: Path, **options: str) -> None:
        """Write a label map, check it by reading it back, and only then give it its name.

        Parameters
        ----------
        labels : LabelMap
        path : Path
            Where; ends in one of `suffixes`.
        **options : str
            ``encoding``, of the formats that have several.

        Raises
        ------
        WriteError
            When it cannot be written or does not read back equal; nothing is left behind.
        """
        ...


class SelectiveLabelWriter(LabelWriter, Protocol):
    """A format that cannot hold every label map."""

    def obstacle(self, subject: Scan | LabelMap) -> Obstacle | None:
        """Why it cannot hold a label map, or one made of a scan; None when it can."""
        ...


class ScanWriter(Writer, Protocol):
    """A format that holds intensities."""

    def write_scan(self, scan: Scan, path: Path) -> None:
        """Write a scan, check it by reading it back, and only then give it its name.

        Parameters
        ----------
        scan : Scan
        path : Path
            Where; ends in one of `suffixes`.

        Raises
        ------
        WriteError
            When it cannot be written or does not read back equal; nothing is left behind.
        """
        ...
