"""From a dataset's fingerprint to a plan: every choice made before anything trains."""

from medseg.planning.fingerprint import Fingerprint, take_fingerprint
from medseg.planning.interpolation import Interpolation, Resampling
from medseg.planning.plan import (
    Component,
    Normalisation,
    Plan,
    Plane,
    augmentation_preset,
    read_plan,
)
from medseg.planning.planner import Budget, make_plan
from medseg.planning.stages import Stages

__all__ = [
    "Budget",
    "Component",
    "Fingerprint",
    "Interpolation",
    "Normalisation",
    "Plan",
    "Plane",
    "Resampling",
    "Stages",
    "augmentation_preset",
    "make_plan",
    "read_plan",
    "take_fingerprint",
]
