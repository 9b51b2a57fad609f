"""From a scan to network input, and back: a plan as MONAI transforms."""

from medseg.preprocessing.pipeline import (
    Pipeline,
    array_pipeline,
    pipeline,
    prepare_image,
    prepare_labels,
)
from medseg.preprocessing.placement import Placement

__all__ = [
    "Pipeline",
    "Placement",
    "array_pipeline",
    "pipeline",
    "prepare_image",
    "prepare_labels",
]
