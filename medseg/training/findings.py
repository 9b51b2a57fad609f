"""One thing that is wrong with a dataset, or worth knowing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
NAMED = 5
"""Cases that a sentence names at most."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing a person should know.

    Parameters
    ----------
    severity : {"error", "warning", "note"}
        With an error a training would stop, or learn what is wrong; it is refused.
    code : str
        Short upper-case word for machines.
    message : str
        One sentence: what, its value, where, what to try.
    case : str
        Name of the case it is about, or ``""`` for several or all.
    value : str
        What was found, where it is a number or a word.
    """

    severity: Severity
    code: str
    message: str
    case: str = ""
    value: str = ""


def listed(names: Iterable[str]) -> str:
    """Names for a sentence: the first few, and how many more."""
    names = sorted(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def listed_cases(names: Iterable[str]) -> str:
    """Case names for a sentence, after the word "case" or "cases"."""
    names = sorted(names)
    return f"{'case' if len(names) == 1 else 'cases'} {listed(names)}"
