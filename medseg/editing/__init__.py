"""Corrections of a label map, one file each: in millimetres, on boxes, never on other labels.

Every operation looks at one label of an array and answers with an `Edit`: a box and the values it
shall have. Nothing is changed in place, so a caller can show, apply or undo it. Voxels
of other labels stay as they are unless `Rules` allow it, and locked labels stay whatever happens.
"""

from medseg.editing.brushing import Brush, ball, paint, stroke_points
from medseg.editing.edit import Edit, Rules, apply, box_of, protected
from medseg.editing.filling import fill_between_slices, fill_holes
from medseg.editing.growing import Growth, grow, intensity_range
from medseg.editing.limiting import keep_in_range
from medseg.editing.pieces import largest_component, split_into_pieces
from medseg.editing.smoothing import smooth
from medseg.editing.splitting import split_at_seeds
from medseg.editing.statistics import LabelStatistics, label_statistics

__all__ = [
    "Brush",
    "Edit",
    "Growth",
    "LabelStatistics",
    "Rules",
    "apply",
    "ball",
    "box_of",
    "fill_between_slices",
    "fill_holes",
    "grow",
    "intensity_range",
    "keep_in_range",
    "label_statistics",
    "largest_component",
    "paint",
    "protected",
    "smooth",
    "split_at_seeds",
    "split_into_pieces",
    "stroke_points",
]
