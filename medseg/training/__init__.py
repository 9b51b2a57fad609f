"""From a dataset to a model package."""

from medseg.training.dataset import Case, Dataset, open_dataset
from medseg.training.label_file import read_label_table
from medseg.training.options import TrainingOptions
from medseg.training.run import train

__all__ = ["Case", "Dataset", "TrainingOptions", "open_dataset", "read_label_table", "train"]
