"""Numbers about label maps: overlap and surface distance to the truth, volumes, summaries."""

from medseg.measuring.overlap import LabelOverlap, overlap
from medseg.measuring.regions import by_region
from medseg.measuring.scores import summarise
from medseg.measuring.surface import SurfaceDistance, surface_distances
from medseg.measuring.volumes import volumes_ml

__all__ = [
    "LabelOverlap",
    "SurfaceDistance",
    "by_region",
    "overlap",
    "summarise",
    "surface_distances",
    "volumes_ml",
]
