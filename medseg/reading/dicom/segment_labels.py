"""Labels from the items of DICOM segmentations and structure sets: names and codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from medseg.reading.dicom.headers import as_text
from medseg.volume import Code, Label

if TYPE_CHECKING:
    from pydicom import Dataset

_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, which writers of segmentations take
_RGB_OF_XYZ = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


def first_code(item: Dataset, sequence: str) -> Code | None:
    """The first code of a sequence of codes; None without one."""
    keywords = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    for code in item.get(sequence) or []:
        return Code(*(as_text(code, keyword) for keyword in keywords))
    return None


def with_unique_names(labels: Collection[Label]) -> list[Label]:
    """The labels in order; names that several share get their values."""
    times = Counter(label.name for label in labels)
    return [
        label
        if times[label.name] == 1
        else msgspec.structs.replace(label, name=f"{label.name} {label.value}")
        for label in labels
    ]


def rgb_of_cielab(stored: tuple[float, ...]) -> tuple[int, int, int]:
    """RGB, 0 to 255, of a RecommendedDisplayCIELabValue; what lies outside of RGB is clipped.

    Parameters
    ----------
    stored : tuple of float
        L*, a*, b*, each scaled to 0 to 65535.

    References
    ----------
    DICOM PS3.3 C.10.7.1.1; IEC 61966-2-1 (sRGB).
    """
    scaled = np.asarray(stored) / 65535
    lightness, a_star, b_star = 100 * scaled[0], 255 * scaled[1] - 128, 255 * scaled[2] - 128
    y = (lightness + 16) / 116
    roots = np.array([y + a_star / 500, y, y - b_star / 200])
    xyz = _WHITE * np.where(roots**3 > 0.008856, roots**3, (roots - 16 / 116) / 7.787)
    linear = np.clip(_RGB_OF_XYZ @ xyz, 0, 1)
    red, green, blue = np.where(
        linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear
    )
    return round(255 * float(red)), round(255 * float(green)), round(255 * float(blue))
