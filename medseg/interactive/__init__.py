"""Clicks, scribbles and boxes that correct a label map, or start one from nothing.

A `Prompt` is data in world millimetres; a `Session` holds a scan, its labels and the prompts so
far, and changes the box around each new one by a method that needs no training.
"""

from medseg.interactive.methods import METHODS, grow_from_seeds
from medseg.interactive.prompt import Prompt
from medseg.interactive.region import Method, Region
from medseg.interactive.robot import RobotUser
from medseg.interactive.session import Proposal, Session
from medseg.interactive.state import SessionState

__all__ = [
    "METHODS",
    "Method",
    "Prompt",
    "Proposal",
    "Region",
    "RobotUser",
    "Session",
    "SessionState",
    "grow_from_seeds",
]
