"""What makes two cases the same: the scan, the model and the settings, each as a digest."""

from __future__ import annotations

import hashlib

import msgspec

from medseg.model_package import ModelPackage
from medseg.workflows.record import model_digest
from medseg_pipelines.batch.messages import Settings


class RunConfig(msgspec.Struct, frozen=True):
    """One model with one set of settings."""

    model: str
    settings: str

    def case(self, key: str) -> str:
        """Name of the case of the scan with this key: 32 hexadecimal digits."""
        return digest(f"{key}\n{self.model}\n{self.settings}".encode())[:32]


def recipe_of(package: ModelPackage, settings: Settings) -> RunConfig:
    """The recipe of a model package and settings."""
    return RunConfig(model_digest(package), settings_digest(settings))


def settings_digest(settings: Settings) -> str:
    """Digest of settings."""
    return digest(msgspec.json.encode(settings, order="sorted"))


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
