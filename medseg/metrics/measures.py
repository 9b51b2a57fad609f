"""The measures of a label: their keys in a scores file, and which way is better."""

from __future__ import annotations

import msgspec


class Measure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number about a label of a case.

    Parameters
    ----------
    title : str
        For a table, with the unit.
    better : {1, -1, 0}
        Whether more of it is better, or less; 0 for a number that is best at zero.
    decimals : int, default 3
        That tell something.
    """

    title: str
    better: int
    decimals: int = 3


MEASURES = {
    "dice": Measure(title="Dice", better=1),
    "iou": Measure(title="IoU", better=1),
    "hd95_mm": Measure(title="HD95, mm", better=-1, decimals=2),
    "hd95_pixels": Measure(title="HD95, pixels", better=-1, decimals=2),
    "assd_mm": Measure(title="ASSD, mm", better=-1),
    "assd_pixels": Measure(title="ASSD, pixels", better=-1),
    "nsd": Measure(title="surface Dice", better=1),
    "volume_error_ml": Measure(title="volume error, ml", better=0),
    "volume_error_pixels": Measure(title="area error, pixels", better=0, decimals=1),
    "volume_error_relative": Measure(title="relative volume error", better=0),
}
"""What is averaged over cases, by its key."""

DISTANCES = ("hd95_mm", "hd95_pixels", "assd_mm", "assd_pixels")
"""What is undefined where a label is missing in one of the maps, for nothing bounds it."""
