"""Which elements of a DICOM result may stay when the patient is taken out, as data."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords by what becomes of their elements; what is in none of them is removed."""

    kept: frozenset[str]
    sequences: frozenset[str]
    emptied: frozenset[str]
    dummies: dict[str, str]


PROFILE = msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=Profile)
