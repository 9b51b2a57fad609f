"""From a dataset to a model package.

The names below load on first use: looking at a run or a folder of cases needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.training.case_folder import CaseFolder, CaseRecord, write_dataset
    from medseg.training.cross_validation import train_folds
    from medseg.training.dataset import Case, Dataset, open_dataset
    from medseg.training.label_file import read_label_table, read_meaning
    from medseg.training.options import TrainingOptions
    from medseg.training.own_parts import TrainingEvent
    from medseg.training.run import train

_HOMES = {
    "Case": "dataset",
    "CaseFolder": "case_folder",
    "CaseRecord": "case_folder",
    "Dataset": "dataset",
    "TrainingEvent": "own_parts",
    "TrainingOptions": "options",
    "open_dataset": "dataset",
    "read_label_table": "label_file",
    "read_meaning": "label_file",
    "train": "run",
    "train_folds": "cross_validation",
    "write_dataset": "case_folder",
}

__all__ = [
    "Case",
    "CaseFolder",
    "CaseRecord",
    "Dataset",
    "TrainingEvent",
    "TrainingOptions",
    "open_dataset",
    "read_label_table",
    "read_meaning",
    "train",
    "train_folds",
    "write_dataset",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'medseg.training' has no attribute '{name}'")
    return getattr(importlib.import_module(f"medseg.training.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__]
