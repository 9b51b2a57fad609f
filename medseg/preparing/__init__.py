"""From a scan to network input, with the ticket home."""

from medseg.preparing.placement import Placement
from medseg.preparing.prepare import preparation, prepare_image, prepare_labels

__all__ = ["Placement", "preparation", "prepare_image", "prepare_labels"]
