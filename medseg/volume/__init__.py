"""Where voxels lie and what they mean: the types that every other package works with."""

from medseg.volume.grid import Grid
from medseg.volume.label_map import Creator, LabelMap
from medseg.volume.label_table import Code, Label, LabelTable
from medseg.volume.native_slices import NativeSlices
from medseg.volume.scan import Provenance, Scan

__all__ = [
    "Code",
    "Creator",
    "Grid",
    "Label",
    "LabelMap",
    "LabelTable",
    "NativeSlices",
    "Provenance",
    "Scan",
]
