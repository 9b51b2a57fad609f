"""What became of each scan of a batch, in memory and as summary.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from medseg_pipelines.destination import write_text

Status = Literal["done", "kept", "skipped", "failed"]
_FIXED = ("scan", "series_uid", "status", "seconds", "code", "message")
_UNIT = "_ml"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one scan.

    Parameters
    ----------
    scan : str
        Its name; the label map's file has the same.
    series_uid : str
        SeriesInstanceUID of a DICOM scan, else empty.
    status : {"done", "kept", "skipped", "failed"}
        ``kept`` was there already; ``skipped`` is no volume.
    seconds : float
        Time spent on it.
    code, message : str
        Why it was skipped or failed.
    volumes_ml : dict of str to float
        By label name.
    """

    scan: str
    series_uid: str = ""
    status: Status
    seconds: float = 0.0
    code: str = ""
    message: str = ""
    volumes_ml: dict[str, float] = {}


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> Path:
    """Write one row per scan, with a column per label; the file appears whole or not at all.

    Raises
    ------
    WriteError
        When it cannot be written.
    """
    labels = dict.fromkeys(name for outcome in outcomes for name in outcome.volumes_ml)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_FIXED, *(name + _UNIT for name in labels)], restval="")
    writer.writeheader()
    for outcome in outcomes:
        row = {name: getattr(outcome, name) for name in _FIXED}
        row["seconds"] = f"{outcome.seconds:.1f}"
        volumes = {name + _UNIT: f"{ml:.3f}" for name, ml in outcome.volumes_ml.items()}
        writer.writerow(row | volumes)
    return write_text(path, text.getvalue())


def read_volumes(path: Path) -> dict[str, dict[str, float]]:
    """Volumes by scan and label of an earlier summary; empty when there is none to be read."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return {
            row["scan"]: {
                name.removesuffix(_UNIT): float(ml)
                for name, ml in row.items()
                if name not in _FIXED and ml
            }
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
