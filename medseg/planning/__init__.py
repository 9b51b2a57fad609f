"""From a dataset's fingerprint to a plan: every choice made before anything trains."""

from medseg.planning.fingerprint import Fingerprint, take_fingerprint
from medseg.planning.plan import Choice, Normalisation, Plan
from medseg.planning.planner import Budget, make_plan

__all__ = [
    "Budget",
    "Choice",
    "Fingerprint",
    "Normalisation",
    "Plan",
    "make_plan",
    "take_fingerprint",
]
