"""Journey: what scans are in a file or folder, before anything is done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from medseg.errors import InputError, MedsegError
from medseg.reading import ScanSource, find_scans, read_scan
from medseg.volume import Scan
from medseg.volume.conventions import obliquity_degrees, orientation_letters
from medseg_pipelines.screen import Screen


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A scan that was found, or why it cannot be read.

    Parameters
    ----------
    name, series_uid, modality, orientation : str
        Of the scan; empty where unknown.
    shape : tuple of int
        Voxels along I, J, K.
    spacing_mm : tuple of float
        Along I, J, K.
    channels : int
        Of the voxels.
    oblique_degrees : float
        Largest angle between a voxel axis and its closest anatomical axis.
    notes : tuple of str
        What is worth knowing.
    error : str
        Why it cannot be used; empty when it can.
    """

    name: str
    series_uid: str = ""
    modality: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    channels: int = 0
    orientation: str = ""
    oblique_degrees: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""


def inspect_scans(path: Path, *, as_json: bool = False, screen: Screen) -> list[Finding]:
    """Read every scan of a file or folder and show where its voxels lie.

    Parameters
    ----------
    path : Path
        File or folder.
    as_json : bool, default False
        Whether to print JSON in place of a table.
    screen : Screen
        Where to.

    Returns
    -------
    list of Finding

    Raises
    ------
    InputError
        When `path` is missing or holds no scan.
    """
    if not path.exists():
        raise InputError(f"there is no '{path}'; check the path")
    sources = find_scans(path) if path.is_dir() else [ScanSource(path, "", path.name)]
    if not sources:
        raise InputError(f"'{path}' holds no scan")
    findings = []
    with screen.progress("reading") as progress:
        for number, source in enumerate(sources):
            progress(number, len(sources), "reading")
            findings.append(_look(source))
    if as_json:
        screen.say(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        screen.show(_table(findings))
    return findings


def _look(source: ScanSource) -> Finding:
    try:
        scan = read_scan(source.path, series=source.series_uid or None)
    except MedsegError as error:
        return Finding(name=source.name, series_uid=source.series_uid, error=str(error))
    return _found(source, scan)


def _found(source: ScanSource, scan: Scan) -> Finding:
    return Finding(
        name=source.name,
        series_uid=scan.provenance.series_uid,
        modality=scan.modality,
        shape=scan.grid.shape,
        spacing_mm=scan.grid.spacing_mm,
        channels=scan.channels,
        orientation=orientation_letters(scan.grid),
        oblique_degrees=obliquity_degrees(scan.grid),
        notes=scan.provenance.notes,
    )


def _table(findings: list[Finding]) -> Table:
    table = Table(title="Scans")
    titles = ("scan", "modality", "voxels", "spacing (mm)", "axes grow to", "oblique", "notes")
    for title in titles:
        table.add_column(title)
    table.add_column("series UID", overflow="fold", min_width=32)
    for found in findings:
        row: list[Any] = [found.name, found.modality]
        row.append(" x ".join(str(count) for count in found.shape))
        row.append(" x ".join(f"{mm:.3g}" for mm in found.spacing_mm))
        row += [found.orientation, f"{found.oblique_degrees:.1f} deg" if found.shape else ""]
        row.append(" ".join([found.error, *found.notes]).strip())
        table.add_row(*row, found.series_uid)
    return table
