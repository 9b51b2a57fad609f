"""Where voxels lie and what they mean: the nouns every other room speaks in."""

from medseg.volume.grid import Grid
from medseg.volume.label_map import LabelMap, Maker
from medseg.volume.label_table import Code, Label, LabelTable
from medseg.volume.native_slices import NativeSlices
from medseg.volume.scan import Provenance, Scan

__all__ = [
    "Code", "Grid", "Label", "LabelMap", "LabelTable", "Maker", "NativeSlices", "Provenance",
    "Scan",
]  # fmt: skip
