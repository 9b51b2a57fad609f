"""Which file of a case is which channel of a model: as the names tell, else in the order given."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from medseg.discovery.scan_files import SCAN_ENDINGS
from medseg.errors import InputError
from medseg.reading.file_names import without_suffix

_NUMBER = re.compile(r"(.+)_(\d{4})")
_CODE = "CHANNELS"

ChannelFiles = dict[int, list[Path]]
"""Files of a case by the number of their channel, from 0."""


def find_channels(
    given: Sequence[Path], channels: Sequence[str], *, series: Sequence[str] = ()
) -> tuple[Path, ...]:
    """What is to be read as the channels of a model, of what a person gave.

    Parameters
    ----------
    given : sequence of Path
        A file for each channel; or one file, DICOM folder or folder of one case's channel files.
    channels : sequence of str
        Names of the model's channels.
    series : sequence of str, optional
        When several: the series of the one DICOM folder that are the channels.

    Returns
    -------
    tuple of Path
        One for each channel, in the model's order; or one that is to hold them all.

    Raises
    ------
    InputError
        When there are more or fewer than the model takes, or one is there twice.
    """
    if len(series) > 1:
        _check_count(len(series), "series", channels)
        given = tuple(given) * (len(series) if len(given) == 1 else 1)
        _check_count(len(given), "paths", channels)
        return given
    if len(given) == 1:
        return _of_folder(given[0], channels) if given[0].is_dir() else tuple(given)
    _check_count(len(given), "files", channels)
    if len({path.absolute() for path in given}) < len(given):
        raise InputError("a file is given twice; give another one for each channel", code=_CODE)
    numbers = [name[1] for path in given if (name := channel_of(path, channels))]
    if sorted(numbers) != list(range(len(channels))):
        return tuple(given)
    return tuple(path for _, path in sorted(zip(numbers, given, strict=True)))


def by_case(paths: Iterable[Path], channels: Sequence[str]) -> dict[tuple[Path, str], ChannelFiles]:
    """Channel files by their folder and the name of their case; others are passed over.

    Parameters
    ----------
    paths : iterable of Path
    channels : sequence of str
        Names of the model's channels.
    """
    cases: dict[tuple[Path, str], ChannelFiles] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        if name := channel_of(path, channels):
            cases[path.parent, name[0]][name[1]].append(path)
    return cases


def channel_of(path: Path, channels: Sequence[str]) -> tuple[str, int] | None:
    """The case and the channel that a file's name tells; None when it tells none.

    ``c_0001`` is channel 1 of ``c``; so is ``c_T1ce``, ``c-t1-ce`` or ``T1ce`` (of the case ``""``)
    where the model's channel 1 is called T1ce.
    """
    stem = without_suffix(path)
    if match := _NUMBER.fullmatch(stem):
        return match[1], int(match[2])
    for name in sorted(channels, key=len, reverse=True):
        letters = r"[\W_]*".join(map(re.escape, re.findall(r"[^\W_]", name)))
        if letters and (match := re.fullmatch(rf"(?:(.+?)[\W_]+)?{letters}", stem, re.IGNORECASE)):
            return match[1] or "", channels.index(name)
    return None


def complete(case: str, files: ChannelFiles, channels: Sequence[str]) -> tuple[Path, ...]:
    """The files of a case, one for each channel, in the model's order.

    Parameters
    ----------
    case : str
        What messages call it.
    files : dict of int to list of Path
    channels : sequence of str
        Names of the model's channels.

    Raises
    ------
    InputError
        When a channel has no file or several, or there are files of no channel of the model.
    """
    takes = f"the model takes {channel_list(channels)}"
    for number, paths in sorted(files.items()):
        if number >= len(channels):
            raise InputError(f"{case} has a file of channel _{number:04d}; {takes}", code=_CODE)
        if len(paths) > 1:
            raise InputError(
                f"{case} has {len(paths)} files of {channels[number]}; keep one of them", code=_CODE
            )
    missing = [f"{name} (_{n:04d})" for n, name in enumerate(channels) if n not in files]
    if missing:
        raise InputError(
            f"{case} has no file of {', '.join(missing)}; {takes}: add a file whose name ends so,"
            " or in the channel's name",
            code=_CODE,
        )
    return tuple(files[number][0] for number in range(len(channels)))


def channel_list(channels: Sequence[str]) -> str:
    """How many channels, and their names in order, for a message."""
    return f"{len(channels)} channel{'s' * (len(channels) > 1)} ({', '.join(channels)})"


def _of_folder(folder: Path, channels: Sequence[str]) -> tuple[Path, ...]:
    """The channel files of the only case in a folder; the folder itself when it has none."""
    volumes = (
        path
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith(SCAN_ENDINGS) and not path.name.startswith(".")
    )
    cases = by_case(volumes, channels)
    if len(cases) > 1:
        names = sorted(f"'{name}'" for _, name in cases)
        raise InputError(
            f"'{folder}' holds {len(names)} cases, such as {names[0]} and {names[1]}; give the"
            " files of one, or segment all of them with medseg batch",
            code=_CODE,
        )
    if not cases:
        return (folder,)
    [((_, name), files)] = cases.items()
    return complete(f"case '{name or folder.name}' in '{folder}'", files, channels)


def _check_count(count: int, what: str, channels: Sequence[str]) -> None:
    if count != len(channels):
        raise InputError(
            f"{count} {what} were given and the model takes {channel_list(channels)}; give one for"
            " each, in this order",
            code=_CODE,
        )
