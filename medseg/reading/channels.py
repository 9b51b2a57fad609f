"""One scan of several files: co-registered images that become its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError
from medseg.reading import read_scan
from medseg.reading.policies import REFUSE, Policies
from medseg.volume import Grid, Scan


def read_channels(
    paths: Sequence[str | Path], *, series: str | None = None, policies: Policies = REFUSE
) -> Scan:
    """Read files, or DICOM folders, that lie on one grid, as the channels of one scan.

    Parameters
    ----------
    paths : sequence of str or Path
        At least one; a file with several channels gives them all.
    series : str, optional
        Which series of a DICOM folder.
    policies : Policies, optional
        What may be repaired in a DICOM series.

    Returns
    -------
    Scan
        With the modality and the provenance of the first.

    Raises
    ------
    GeometryError
        When they lie on different grids.
    """
    scans = [read_scan(path, series=series, policies=policies) for path in paths]
    first = scans[0]
    if len(scans) == 1:
        return first
    for path, scan in zip(paths[1:], scans[1:], strict=True):
        check_same_grid(first, scan.grid, f"channel '{Path(path).name}'")
    return replace(first, voxels=np.concatenate([scan.voxels for scan in scans]))


def check_same_grid(scan: Scan, grid: Grid, what: str) -> None:
    """Raise `GeometryError` unless `grid`, that of `what`, matches the scan's."""
    if not scan.grid.matches(grid):
        raise GeometryError(
            f"{what} does not lie on its scan's grid: {grid.difference(scan.grid)}; resample it to"
            " the scan first",
            code="OTHER_GRID",
        )
