"""From a scan to network input, with the inverse transform."""

from medseg.preprocessing.pipeline import preparation, prepare_image, prepare_labels
from medseg.preprocessing.placement import Placement

__all__ = ["Placement", "preparation", "prepare_image", "prepare_labels"]
