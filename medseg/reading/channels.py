"""One scan of several files: co-registered images that become its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError
from medseg.reading import read_scan
from medseg.reading.policies import REFUSE, Policies
from medseg.runtime.progress import Progress, silent
from medseg.volume import Grid, Scan


def read_channels(
    paths: Sequence[str | Path],
    *,
    series: str | Sequence[str] | None = None,
    policies: Policies = REFUSE,
    progress: Progress = silent,
) -> Scan:
    """Read files, or DICOM folders, that lie on one grid, as the channels of one scan.

    Parameters
    ----------
    paths : sequence of str or Path
        At least one; a file with several channels gives them all.
    series : str or sequence of str, optional
        Which series of a DICOM folder; one for all, or one for each path.
    policies : Policies, optional
        What may be repaired in a DICOM series.
    progress : Progress, optional

    Returns
    -------
    Scan
        As :func:`stack_channels` makes it.

    Raises
    ------
    GeometryError
        When they lie on different grids.
    """
    selectors = [series or None] * len(paths) if isinstance(series, str | None) else series
    scans = [
        read_scan(path, series=selector, policies=policies, progress=progress)
        for path, selector in zip(paths, selectors, strict=True)
    ]
    names = [Path(path).name for path in paths]
    if len(set(names)) < len(names):
        names = [
            f"{Path(path)} {selector or ''}".strip()
            for path, selector in zip(paths, selectors, strict=True)
        ]
    return stack_channels(scans, names)


def stack_channels(scans: Sequence[Scan], names: Sequence[str]) -> Scan:
    """Scans on one grid as the channels of one scan.

    Parameters
    ----------
    scans : sequence of Scan
        At least one.
    names : sequence of str
        Of each, for a message.

    Returns
    -------
    Scan
        On the grid, and with the modality and the provenance, of the first. Its notes are those of
        all, and so are its files where they are no slices.

    Raises
    ------
    GeometryError
        When they lie on different grids.
    """
    first = scans[0]
    if len(scans) == 1:
        return first
    for name, scan in zip(names[1:], scans[1:], strict=True):
        check_same_grid(first, scan.grid, f"channel '{name}'", f"the grid of '{names[0]}'")
    source = first.provenance
    notes = dict.fromkeys(note for scan in scans for note in scan.provenance.notes)
    files = tuple(dict.fromkeys(file for scan in scans for file in scan.provenance.files))
    is_stack = bool(source.instance_uids)
    provenance = replace(source, notes=tuple(notes), files=source.files if is_stack else files)
    voxels = np.concatenate([scan.voxels for scan in scans])
    return replace(first, voxels=voxels, provenance=provenance)


def check_same_grid(scan: Scan, grid: Grid, what: str, its: str = "its scan's grid") -> None:
    """Raise `GeometryError` unless `grid`, that of `what`, matches the scan's, which is `its`."""
    if not scan.grid.matches(grid):
        raise GeometryError(
            f"{what} does not lie on {its}: {grid.difference(scan.grid)}; resample it to"
            " the scan first",
            code="OTHER_GRID",
        )
