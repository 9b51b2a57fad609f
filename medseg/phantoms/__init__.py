"""Patients made up by formula, whose truth is known at every millimetre."""

from medseg.phantoms.abdomen import ABDOMEN_LABELS, abdominal_ct, default_grid

__all__ = ["ABDOMEN_LABELS", "abdominal_ct", "default_grid"]
