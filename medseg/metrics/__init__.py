"""Numbers about label maps: overlap, surface distances, volumes; means, intervals, tests."""

from medseg.metrics.comparison import StructureComparison, compare, differences, matched
from medseg.metrics.ellipse import circumferences_mm
from medseg.metrics.evaluation import evaluation_of, measure_case
from medseg.metrics.intervals import bootstrap, statistics
from medseg.metrics.missing import with_missing
from medseg.metrics.overlap import LabelOverlap, overlap
from medseg.metrics.paired import PairedDifference, paired_differences
from medseg.metrics.regions import by_region
from medseg.metrics.regridding import labels_on
from medseg.metrics.scores import case_scores, means_of, summarise
from medseg.metrics.surface import SurfaceDistance, surface_distances
from medseg.metrics.volumes import volumes_ml

__all__ = [
    "LabelOverlap",
    "PairedDifference",
    "StructureComparison",
    "SurfaceDistance",
    "bootstrap",
    "by_region",
    "case_scores",
    "circumferences_mm",
    "compare",
    "differences",
    "evaluation_of",
    "labels_on",
    "matched",
    "means_of",
    "measure_case",
    "overlap",
    "paired_differences",
    "statistics",
    "summarise",
    "surface_distances",
    "volumes_ml",
    "with_missing",
]
