"""Words by which files say that they are label maps: ``case_seg``, ``patient001_gt``, ``mask``."""

from __future__ import annotations

import re

_WORDS = (
    "label labels labeled labelled labelmap seg segs segmentation segmentations mask masks gt truth"
    " groundtruth manual annotation annotations contour contours dseg"
)
WORDS = frozenset(_WORDS.split())
_BEFORE = frozenset({"ground"})  # as in ground_truth
_SEPARATORS = re.compile(r"[_\-. ]+")


def is_label_word(word: str) -> bool:
    """Whether a file whose name ends so is a label map."""
    return word.casefold() in WORDS


def words_of(name: str) -> list[str]:
    """The parts of a name, in small letters."""
    return [word for word in _SEPARATORS.split(name.casefold()) if word]


def scan_words(name: str) -> list[str] | None:
    """What is left of the name of a label map without the words that say so.

    Parameters
    ----------
    name : str
        Of a file, without ending.

    Returns
    -------
    list of str or None
        The words of its scan's name, as of ``p1_t1`` for ``p1_t1_gt``; None for names that do not
        end or begin with such a word.
    """
    parts = words_of(name)
    rest = list(parts)
    while rest and (rest[-1] in WORDS or (len(rest) < len(parts) and rest[-1] in _BEFORE)):
        rest.pop()
    if len(rest) < len(parts):
        return rest
    return parts[1:] if parts and parts[0] in WORDS else None
