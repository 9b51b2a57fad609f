"""What makes two cases the same: the scan, the model and the settings, each as a digest."""

from __future__ import annotations

import hashlib

import msgspec

from medseg.model_package import ModelPackage
from medseg.workflows.record import model_digest
from medseg_pipelines.batch.messages import Settings


class RunConfig(msgspec.Struct, frozen=True):
    """Digests of one model and one set of settings."""

    model: str
    settings: str

    @classmethod
    def of(cls, package: ModelPackage, settings: Settings) -> RunConfig:
        """That of a model package and settings."""
        return cls(model_digest(package), _digest(msgspec.json.encode(settings, order="sorted")))

    def case(self, key: str) -> str:
        """Name of the case of the scan with this key: 32 hexadecimal digits."""
        return _digest(f"{key}\n{self.model}\n{self.settings}".encode())[:32]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
