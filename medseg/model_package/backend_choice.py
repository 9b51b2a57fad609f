"""Which library runs a model on this machine, as it was measured here once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from medseg.model_package.package import ModelPackage
from medseg.planning.plan import encode
from medseg.runtime.cache_folder import cache_folder


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was taken for one model on one machine, and the numbers.

    Parameters
    ----------
    backend : str
        The one that was taken.
    seconds : mapping of str to float
        For one tile, by backend.
    share : mapping of str to float
        Of the tile's voxels that have another label than with torch in float32, by backend.
    failed : mapping of str to str
        Why a library could not be measured.
    key : mapping of str to str
        What the choice holds for: processor, number format, threads, versions.
    """

    backend: str
    seconds: Mapping[str, float] = {}
    share: Mapping[str, float] = {}
    failed: Mapping[str, str] = {}
    key: Mapping[str, str] = {}

    def __str__(self) -> str:
        """One line for a person."""
        numbers = [
            f"{name} {self.seconds[name]:.3g} s a tile, {self.share[name]:.2%} of labels differ"
            for name in self.seconds
        ]
        numbers += [f"{name} not: {why}" for name, why in self.failed.items()]
        return f"{self.backend} (measured: {'; '.join(numbers)})"


def kept_folder(package: ModelPackage) -> Path:
    """Where everything that backends keep of a model is; it need not be there."""
    digest = hashlib.sha256(encode(package.manifest)).hexdigest()
    return cache_folder() / "backends" / digest[:16]


def kept_choices(package: ModelPackage) -> list[Choice]:
    """What was taken for a model, for every number of threads and all versions there were."""
    files = sorted(kept_folder(package).rglob("choice-*.json"))
    return [choice for file in files if (choice := read_choice(file)) is not None]


def read_choice(file: Path) -> Choice | None:
    """A choice that was kept; None when it is not there, or no choice of this version."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(file.read_bytes(), type=Choice)
    return None
