"""medseg: scans in, trustworthy label maps out.

The names below load on first use, so that ``import medseg`` is quick and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from medseg._version import __version__ as __version__

if TYPE_CHECKING:
    from medseg.errors import MedsegError
    from medseg.inference import Predictor
    from medseg.model_package import ModelPackage
    from medseg.planning import Plan
    from medseg.reading import read_labels, read_scan
    from medseg.training import TrainingOptions, open_dataset, train, write_dataset
    from medseg.volume import Grid, LabelMap, LabelTable, Scan
    from medseg.workflows.evaluate import evaluate
    from medseg.workflows.segment import segment
    from medseg.writing import write_labels, write_scan

_HOMES = {
    "Grid": "medseg.volume",
    "LabelMap": "medseg.volume",
    "LabelTable": "medseg.volume",
    "MedsegError": "medseg.errors",
    "ModelPackage": "medseg.model_package",
    "Plan": "medseg.planning",
    "Predictor": "medseg.inference",
    "Scan": "medseg.volume",
    "TrainingOptions": "medseg.training",
    "evaluate": "medseg.workflows.evaluate",
    "open_dataset": "medseg.training",
    "read_labels": "medseg.reading",
    "read_scan": "medseg.reading",
    "segment": "medseg.workflows.segment",
    "train": "medseg.training",
    "write_dataset": "medseg.training",
    "write_labels": "medseg.writing",
    "write_scan": "medseg.writing",
}

__all__ = [
    "Grid",
    "LabelMap",
    "LabelTable",
    "MedsegError",
    "ModelPackage",
    "Plan",
    "Predictor",
    "Scan",
    "TrainingOptions",
    "evaluate",
    "open_dataset",
    "read_labels",
    "read_scan",
    "segment",
    "train",
    "write_dataset",
    "write_labels",
    "write_scan",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'medseg' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
