"""From a dataset's fingerprint to a plan: every choice made before anything trains."""

from medseg.planning.fingerprint import Fingerprint, take_fingerprint
from medseg.planning.plan import Choice, Normalisation, Plan, read_plan
from medseg.planning.planner import Budget, make_plan

__all__ = [
    "Budget",
    "Choice",
    "Fingerprint",
    "Normalisation",
    "Plan",
    "make_plan",
    "read_plan",
    "take_fingerprint",
]
