"""JSON objects of people's datasets, as editors write them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from medseg.errors import InputError

Json = dict[str, Any]


def read_json(path: Path) -> Json:
    """A JSON object, or an empty one when there is no such file.

    Raises
    ------
    InputError
        When the file is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is no readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"'{path}' must hold a JSON object, got {type(value).__name__}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> Json:
    """An object of which no name is there twice; JSON leaves open which one counts."""
    counts = Counter(name for name, _ in pairs)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"the name '{twice[0]}' is there twice in one object")
    return dict(pairs)


def channel_names(about: Json) -> tuple[str, ...]:
    """Names of channels by number, as nnU-Net's two versions and Decathlon write them.

    A list is in their order, and names may have the numbers as labels have their values.
    """
    named = about.get("channel_names") or about.get("modality") or {}
    if isinstance(named, list):
        named = {str(number): name for number, name in enumerate(named)}
    if not isinstance(named, dict):
        return ()
    if "0" not in named:
        named = {str(number): name for name, number in named.items()}
    return tuple(str(named.get(str(number), "")).strip() for number in range(len(named)))
