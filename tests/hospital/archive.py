"""A generated hospital: many small series of several vendors, some of them bad, all told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hospital.poisons import POISONS
from hospital.styles import MULTIFRAME, STYLES, Style, uid


@dataclass(frozen=True)
class Expected:
    """A series that was written, and what a batch must make of it.

    Parameters
    ----------
    number : int
        From 1; it seeds pixels and names.
    kind : str
        The vendor's style, or what is wrong.
    code : str
        Empty when it must be done, else of its refusal or failure.
    series_uid : str
        SeriesInstanceUID, where it has one.
    files : tuple of Path
        What was written.
    """

    number: int
    kind: str
    code: str
    series_uid: str
    files: tuple[Path, ...]

    def is_at(self, path: Path, series: str) -> bool:
        """Whether a scan that was found, by path and selector, is this one."""
        if series:
            return series.partition("#")[0] == self.series_uid
        return path in self.files or any(path in file.parents for file in self.files)


def write_hospital(
    root: Path, *, count: int = 200, bad: float = 0.1, seed: int = 0, size: float = 1.0
) -> list[Expected]:
    """Write an archive; the same files for the same arguments.

    Parameters
    ----------
    root : Path
        Made when missing.
    count : int
        Of series.
    bad : float
        Share of bad ones, in turn of each of the ten kinds.
    seed : int
        Of everything.
    size : float
        How many times longer each side of a series is than at 1 (about 10 x 30 x 25 voxels); not
        below 1, which JPEG 2000 would not encode.

    Returns
    -------
    list of Expected
        In the order of their numbers.
    """
    random = np.random.default_rng(seed)
    spoilt = set(random.permutation(count)[: round(bad * count)].tolist())
    ways = iter(range(count))
    made = []
    for n in range(count):
        number = 1000 * seed + n + 1
        if n in spoilt:
            poison = POISONS[next(ways) % len(POISONS)]
            files = poison.write(root, number, size)
            made.append(
                Expected(number, poison.name, poison.code, uid(number, "series"), (*files,))
            )
        else:
            made.append(_good(root, number, STYLES[n % len(STYLES)], size))
    _litter(root)
    return made


def write_many(root: Path, *, count: int, seed: int = 0, size: float = 0.5) -> list[Expected]:
    """Write many good series of one file each, fast.

    Parameters
    ----------
    root : Path
        Made when missing.
    count : int
        Of series.
    seed : int
        Of everything.
    size : float
        As of :func:`write_hospital`.

    Returns
    -------
    list of Expected
    """
    return [_good(root, 1000 * seed + n + 1, MULTIFRAME, size) for n in range(count)]


def _good(root: Path, number: int, style: Style, size: float) -> Expected:
    files = style.write(root, number, size)
    return Expected(number, style.name, "", uid(number, "series"), tuple(files))


def _litter(root: Path) -> None:
    """Files that are no scans, as every archive has them."""
    (root / "README.txt").write_text("exported by hand\n")
    (root / "Thumbs.db").write_bytes(bytes(512))
    (root / ".DS_Store").write_bytes(bytes(64))


def match(
    expected: Sequence[Expected], found: Sequence[tuple[Path, str, str]]
) -> tuple[list[tuple[Expected, str]], list[Expected], list[tuple[Path, str, str]]]:
    """Hold what a ledger says against what was expected.

    Parameters
    ----------
    expected : sequence of Expected
        What was written.
    found : sequence of (Path, str, str)
        Path, selector and code (empty when done) of every row.

    Returns
    -------
    pairs : list of (Expected, str)
        With the code that was found.
    missing : list of Expected
        Without a row.
    surplus : list of (Path, str, str)
        Rows that no series stands behind, and second rows of a series.
    """
    open_rows = list(found)
    pairs, missing = [], []
    for one in expected:
        row = next((row for row in open_rows if one.is_at(row[0], row[1])), None)
        if row is None:
            missing.append(one)
            continue
        open_rows.remove(row)
        pairs.append((one, row[2]))
    return pairs, missing, open_rows
