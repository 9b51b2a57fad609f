"""Numbers about label maps: overlap with the truth, volumes, and their summary over cases."""

from medseg.measuring.overlap import LabelOverlap, overlap
from medseg.measuring.scores import summarise
from medseg.measuring.volumes import volumes_ml

__all__ = ["LabelOverlap", "overlap", "summarise", "volumes_ml"]
