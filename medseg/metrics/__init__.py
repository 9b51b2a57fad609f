"""Numbers about label maps: overlap and surface distance to the truth, volumes, summaries."""

from medseg.metrics.comparison import StructureComparison, compare, differences, matched
from medseg.metrics.overlap import LabelOverlap, overlap
from medseg.metrics.regions import by_region
from medseg.metrics.regridding import labels_on
from medseg.metrics.scores import summarise
from medseg.metrics.surface import SurfaceDistance, surface_distances
from medseg.metrics.volumes import volumes_ml

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
