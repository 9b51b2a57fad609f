"""Files that are label maps of scans, as far as their name and their place tell."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from medseg.discovery.bids import is_bids_label
from medseg.discovery.cases import paired_folder
from medseg.discovery.label_words import WORDS, scan_words
from medseg.discovery.scan_files import is_segments, stem_of, visible


def is_label_map(path: Path) -> bool:
    """Whether a file is no scan but a label map of one, as far as its name and place tell."""
    if is_segments(path) or is_bids_label(path):
        return True
    folder = path.parent
    pair = paired_folder(folder.parent)
    if pair and folder == pair[1]:
        return True
    if folder.name.casefold() in WORDS and _stems(folder.parent):
        return True
    return scan_words(stem_of(path)) is not None and _holds_scans(folder)


def _holds_scans(folder: Path) -> bool:
    return any(scan_words(stem) is None for stem in _stems(folder))


def _stems(folder: Path) -> tuple[str, ...]:
    """Names without ending of the volumes and pictures in a folder."""
    return _listed(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _listed(folder: Path, changed_ns: int) -> tuple[str, ...]:
    """As :func:`_stems`; listed again when the folder has changed."""
    return tuple(stem for path in visible(folder) if (stem := stem_of(path)) and path.is_file())
