"""From a dataset to a model package."""

from medseg.training.dataset import Case, Dataset, open_dataset
from medseg.training.label_file import read_label_table, read_meaning
from medseg.training.options import TrainingOptions
from medseg.training.regions import Region, regions_of_classes
from medseg.training.run import train

__all__ = [
    "Case",
    "Dataset",
    "Region",
    "TrainingOptions",
    "open_dataset",
    "read_label_table",
    "read_meaning",
    "regions_of_classes",
    "train",
]
