"""What scans are in a file or folder, and whether they can be trusted."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.table import Table

from medseg.discovery.inspection import VolumeReport, inspect
from medseg.errors import InputError
from medseg.reading import Policies
from medseg_pipelines.console import Console

_TITLES = (
    "scan",
    "kind",
    "voxels",
    "spacing (mm)",
    "axes grow to",
    "tilt",
    "slices",
    "volume",
    "encoding",
    "verdict",
)


def inspect_scans(
    path: Path,
    *,
    policies: Policies | None = None,
    pixels: bool = False,
    as_json: bool = False,
    console: Console,
) -> tuple[VolumeReport, ...]:
    """Report on every volume of a file or folder: where it lies, what is wrong, what to do.

    Parameters
    ----------
    path : Path
    policies : Policies, optional
        What may be repaired; nothing when not given.
    pixels : bool, default False
        Whether to decode every DICOM pixel, not only to read headers.
    as_json : bool, default False
        Whether to print JSON in place of a table.
    console : Console

    Raises
    ------
    InputError
        When `path` is missing or holds no scan.
    """
    with console.progress("reading headers") as progress:
        reports = inspect(path, policies=policies or Policies(), pixels=pixels, progress=progress)
    if not reports:
        raise InputError(f"'{path}' holds no scan")
    if as_json:
        console.print(msgspec.json.format(msgspec.json.encode(reports)).decode())
    else:
        console.show(_table(reports))
    return reports


def _table(reports: tuple[VolumeReport, ...]) -> Table:
    table = Table(title="Scans")
    for title in _TITLES:
        table.add_column(title)
    table.add_column("series UID", overflow="fold", min_width=32)
    for report in reports:
        table.add_row(*_row(report), report.series_uid)
    return table


def _row(report: VolumeReport) -> list[str]:
    """What the table says of a volume, without its series UID."""
    several = report.volumes > 1
    verdict = report.verdict
    return [
        report.name,
        " ".join([report.modality, report.image_type]).strip(),
        " x ".join(str(count) for count in report.shape),
        " x ".join(f"{mm:.3g}" for mm in report.spacing_mm),
        f"{report.orientation} {_degrees(report.oblique_degrees, 'oblique')}".strip(),
        _degrees(report.tilt_degrees),
        _slices(report),
        f"{report.volume} of {report.volumes}" if several else "",
        report.transfer_syntax,
        " ".join([verdict.outcome, verdict.code, verdict.why, *report.notes]),
    ]


def _degrees(angle: float, word: str = "") -> str:
    return f"{angle:.1f} deg {word}".strip() if angle >= 0.1 else ""


def _slices(report: VolumeReport) -> str:
    """Images found, and what is wrong with their number or distances."""
    parts = [str(report.slices or "")]
    parts += [f"{report.missing} missing"] if report.missing else []
    parts += [f"{report.duplicates} twice"] if report.duplicates else []
    parts += [f"uneven by {report.irregular_mm:.2f} mm"] if report.irregular_mm else []
    return ", ".join(parts)
