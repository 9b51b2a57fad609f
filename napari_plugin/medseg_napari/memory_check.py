"""Whether a series fits into memory, told before it is read and not by the system that ends us."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medseg.errors import InputError

if TYPE_CHECKING:
    from medseg.discovery.series_list import SeriesEntry

_BYTES_OF_A_VOXEL = 2  # at the least: scanners store 12 to 16 bits
_COPIES = 2  # while files are read, and while time points are put together


def least_bytes(entry: SeriesEntry) -> int:
    """The memory that opening a series takes at the least; 0 where its size is not known."""
    report = entry.report
    if not report.shape:
        return 0
    voxels = math.prod(report.shape) * max(1, report.channels) * max(1, entry.volumes)
    return voxels * _BYTES_OF_A_VOXEL * _COPIES


def check_room(entry: SeriesEntry) -> None:
    """Refuse (`InputError`) what needs more memory than is free, with both amounts."""
    import psutil  # type: ignore[import-untyped]

    needed, free = least_bytes(entry), int(psutil.virtual_memory().available)
    if needed <= free:
        return
    several = entry.volumes > 1
    what = f"its {entry.volumes} time points need" if several else "it needs"
    remedy = "; open part of the folder, such as one phase of it" if several else ""
    raise InputError(
        f"'{entry.report.name}' was not opened: {what} at least {_gigabytes(needed)} of memory and"
        f" {_gigabytes(free)} is free. Close other programs or layers{remedy}",
        code="MEMORY",
    )


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
