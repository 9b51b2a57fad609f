"""What made a result: model, device, settings, versions, time, and what to be warned of."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec

from medseg._version import __version__
from medseg.planning.plan import encode

if TYPE_CHECKING:
    from medseg.model_package import ModelPackage

_LIBRARIES = ("torch", "monai", "numpy", "pydicom", "highdicom", "nibabel", "SimpleITK")


class ModelUsed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model.

    Parameters
    ----------
    name, version : str
    digest, weights : str
        SHA-256 of its manifest, and of its weights.
    licence : str
    modality : str
        Of the scans it was trained on; empty when the model does not say.
    """

    name: str
    version: str
    digest: str
    weights: str
    licence: str = ""
    modality: str = ""

    @classmethod
    def of(cls, package: ModelPackage) -> ModelUsed:
        """What a package says of itself."""
        manifest = package.manifest
        return cls(
            name=manifest.name,
            version=manifest.version,
            digest=model_digest(package),
            weights=manifest.weights.sha256,
            licence=manifest.card.licence,
            modality=manifest.card.modality,
        )

    def modality_warning(self, modality: str) -> str:
        """A sentence when the model was trained on scans of another modality; else empty."""
        return modality_warning(self.name, self.modality, modality)


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What made a result.

    Parameters
    ----------
    model : ModelUsed
    device : str
        What the predictor ran on.
    settings : mapping of str
        What was chosen besides scan, model and device; plain data.
    versions : mapping of str to str
        Of medseg, Python and libraries.
    ended : str
        When, in ISO 8601, UTC.
    seconds : mapping of str to float
        By step: ``read``, ``segment``, ``write``.
    warnings : tuple of str
        What a person should know of this result.
    """

    model: ModelUsed
    device: str
    settings: Mapping[str, Any] = {}
    versions: Mapping[str, str] = {}
    ended: str = ""
    seconds: dict[str, float] = {}
    warnings: tuple[str, ...] = ()

    @classmethod
    def now(
        cls,
        model: ModelUsed,
        device: str,
        *,
        settings: Mapping[str, Any] | None = None,
        seconds: Mapping[str, float] | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Record:
        """The record of a result that is complete now, with the versions at work."""
        return Record(
            model=model,
            device=device,
            settings=settings or {},
            versions=versions(),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=dict(seconds or {}),
            warnings=warnings,
        )


def modality_warning(model: str, expected: str, modality: str) -> str:
    """A sentence, without a full stop, when a model is for another modality; else empty.

    Parameters
    ----------
    model : str
    expected, modality : str
        Of the scans it was trained on, and of this one; empty when not known.
    """
    if not expected or not modality or expected == modality:
        return ""
    return (
        f"{model} was trained on {expected}, this scan is {modality}; its labels mean nothing here"
        " unless you know better"
    )


def model_digest(package: ModelPackage) -> str:
    """SHA-256 of a package's manifest, which holds the digest of its weights."""
    return hashlib.sha256(encode(package.manifest)).hexdigest()


@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of what results may depend on."""
    installed = {"medseg": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(
            metadata.PackageNotFoundError
        ):  # what is not there changed nothing
            installed[name] = metadata.version(name)
    return installed
