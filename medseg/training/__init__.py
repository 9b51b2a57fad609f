"""From a dataset to a model package."""

from medseg.training.dataset import Case, Dataset, open_dataset
from medseg.training.options import TrainingOptions
from medseg.training.run import train

__all__ = ["Case", "Dataset", "TrainingOptions", "open_dataset", "train"]
