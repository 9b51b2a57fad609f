"""Folds: read from a file, or made once from the sorted names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.discovery.scan_files import composed
from medseg.errors import InputError

FOLDS = 5
SEED = 12345


@dataclass(frozen=True)
class Fold:
    """Names of the cases to train on and of those held out."""

    train: frozenset[str]
    validation: frozenset[str]


def find_folds(
    root: Path, names: list[str], patients: Sequence[frozenset[str]] = ()
) -> tuple[Fold, ...]:
    """Folds from ``splits.json`` or ``splits_final.json`` of a dataset, else made."""
    for name in ("splits.json", "splits_final.json"):
        if (root / name).is_file():
            return read_folds(root / name, names)
    return make_folds(names, patients)


def make_folds(names: list[str], patients: Sequence[frozenset[str]] = ()) -> tuple[Fold, ...]:
    """Five folds (fewer for fewer patients) of the shuffled patients, always the same ones.

    Parameters
    ----------
    names : list of str
        Of the cases.
    patients : sequence of frozenset of str
        Names of the cases of each patient who has several: they stay together, unless they are
        all there are.
    """
    together = {name: group & frozenset(names) for group in patients for name in group}
    groups = {name: together.get(name, frozenset({name})) for name in names}
    first = sorted({min(group) for group in groups.values()})
    if len(first) == 1:
        first, groups = sorted(names), {name: frozenset({name}) for name in names}
    shuffled = np.random.default_rng(SEED).permutation(first).tolist()
    count = min(FOLDS, len(shuffled))
    parts = [
        frozenset().union(*(groups[name] for name in shuffled[number::count]))
        for number in range(count)
    ]
    return tuple(Fold(frozenset(names) - part, part) for part in parts)


def folds_by_number(names: list[str], stated: Mapping[str, int]) -> tuple[Fold, ...]:
    """Folds of which each holds out the cases with its number; those without are trained on."""
    parts = [
        frozenset(name for name in names if stated.get(name) == number)
        for number in range(max(stated.values()) + 1)
    ]
    return tuple(Fold(frozenset(names) - part, part) for part in parts)


def read_folds(path: Path, names: list[str]) -> tuple[Fold, ...]:
    """Folds from a file: a list of ``{"train": [...], "val": [...]}``, alone or under "folds".

    Raises
    ------
    InputError
        When the file does not hold folds, names an unknown case, or holds out what it trains on.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        rows = content["folds"] if isinstance(content, dict) else content
        folds = tuple(Fold(_names(row["train"]), _names(row["val"])) for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{path}' holds no folds (a list of {{'train': [...], 'val': [...]}}): {error!r}"
        ) from error
    if not folds:
        raise InputError(f"'{path}' holds no folds: its list is empty")
    for number, fold in enumerate(folds):
        unknown = sorted((fold.train | fold.validation) - set(names))
        if unknown:
            raise InputError(
                f"fold {number} of '{path}' names '{unknown[0]}', which is no case; cases are"
                f" called as their label maps without the ending, such as '{min(names)}'"
            )
        both = sorted(fold.train & fold.validation)
        if both:
            raise InputError(f"fold {number} of '{path}' trains on '{both[0]}' and holds it out")
    return folds


def _names(listed: Any) -> frozenset[str]:
    """The cases of one side of a fold."""
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise TypeError(f"{listed!r} is no list of names")
    return frozenset(map(composed, listed))
