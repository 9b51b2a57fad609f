"""Labels from the items of DICOM segmentations and structure sets: names and codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from medseg.reading.dicom.headers import as_text
from medseg.volume import Code, Label

if TYPE_CHECKING:
    from pydicom import Dataset


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
