"""Sample rare: labels of a few voxels in all become background."""

from __future__ import annotations

import msgspec
import numpy as np

WORKS_ON = "labels"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a manifest may choose."""

    least_voxels: int = 3
    labels: tuple[int, ...] = ()


def build(settings: Settings):
    """The step with these settings."""

    def step(classes_IJK, *, spacing_mm):
        values, counts = np.unique(classes_IJK, return_counts=True)
        rare = values[counts < settings.least_voxels]
        if settings.labels:
            rare = np.intersect1d(rare, settings.labels)
        return np.where(np.isin(classes_IJK, rare), classes_IJK.dtype.type(0), classes_IJK)

    return step
