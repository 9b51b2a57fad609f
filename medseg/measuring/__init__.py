"""Numbers about label maps: overlap and surface distance to the truth, volumes, summaries."""

from medseg.measuring.comparing import StructureComparison, compare, differences, matched
from medseg.measuring.overlap import LabelOverlap, overlap
from medseg.measuring.regions import by_region
from medseg.measuring.regridding import labels_on
from medseg.measuring.scores import summarise
from medseg.measuring.surface import SurfaceDistance, surface_distances
from medseg.measuring.volumes import volumes_ml

__all__ = [
    "LabelOverlap",
    "StructureComparison",
    "SurfaceDistance",
    "by_region",
    "compare",
    "differences",
    "labels_on",
    "matched",
    "overlap",
    "summarise",
    "surface_distances",
    "volumes_ml",
]
