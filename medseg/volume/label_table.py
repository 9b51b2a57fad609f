"""What each label value means: value, name, colour, terminology code."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator

import msgspec

from medseg.errors import LabelError

IGNORE = "ignore"
"""Name of the label that stands for no structure: its voxels count neither for nor against."""
MEAN = "mean_over_labels"
"""What stands beside the names of labels in scores, for the mean over them; no label's name."""
IGNORED_CLASS = 255
"""Class index of voxels under that label."""


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A coded concept, usually of SNOMED CT (scheme ``"SCT"``).

    Parameters
    ----------
    value : str
        Code value, such as ``"10200004"``.
    scheme : str
    meaning : str
        What a person reads, such as ``"Liver"``.
    """

    value: str
    scheme: str
    meaning: str


STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
"""Category of a label that has a code and no category of its own."""

TISSUE = Code("85756007", "SCT", "Tissue")
"""Category and type of a label without either."""

# Retired codes of the same concepts (DICOM PS3.16 CID 7150), which older writers still use.
_LEGACY_CODES = {
    ("91723000", "SCT"): STRUCTURE,
    ("T-D000A", "SRT"): STRUCTURE,
    ("T-D0050", "SRT"): TISSUE,
}


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One structure: the voxel value that stands for it, its name, colour and code.

    Parameters
    ----------
    value : int
        From 1 to 65535; 0 is always the background.
    name : str
        Short and unique in its table.
    color : tuple of int
        Red, green, blue, 0 to 255.
    code : Code or None
        What the structure is, for DICOM.
    category : Code or None
        What kind of thing it is, where that is neither an anatomical structure with a code nor
        some tissue without one; see :attr:`property_category`.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    code: Code | None = None
    category: Code | None = None

    @property
    def property_category(self) -> Code:
        """The category in DICOM and 3D Slicer files."""
        return self.category or (STRUCTURE if self.code else TISSUE)

    @property
    def property_type(self) -> Code:
        """The type in DICOM and 3D Slicer files."""
        return self.code or TISSUE

    @classmethod
    def coded(
        cls, value: int, name: str, color: tuple[int, int, int], *, category: Code, type_code: Code
    ) -> Label:
        """A label of the category and type that a file names; default ones are left out."""
        category, type_code = (
            _LEGACY_CODES.get((concept.value, concept.scheme), concept)
            for concept in (category, type_code)
        )
        code = type_code if type_code.value and not _same(type_code, TISSUE) else None
        label = cls(value=value, name=name, color=color, code=code)
        is_default = not category.value or _same(category, label.property_category)
        return label if is_default else msgspec.structs.replace(label, category=category)


def _same(first: Code, second: Code) -> bool:
    """Whether two codes are equal, whatever their meanings say."""
    return (first.value, first.scheme) == (second.value, second.scheme)


class LabelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The labels a map may hold, in ascending order of value; 0 (background) is implied.

    Parameters
    ----------
    labels : tuple of Label
        Values and names must be unique.

    Raises
    ------
    LabelError
        When values or names repeat or are out of range, or a name stands for the mean in scores.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        values = [label.value for label in self.labels]
        names = [label.name for label in self.labels]
        if any(not 1 <= value <= 65535 for value in values):
            raise LabelError(f"label values must lie in 1..65535 (0 is background), got {values}")
        if values != sorted(set(values)):
            raise LabelError(f"label values must be unique and ascending, got {values}")
        if len(set(names)) != len(names) or not all(name.strip() for name in names):
            raise LabelError(f"label names must be unique and not empty, got {names}")
        if MEAN in names:
            raise LabelError(
                f"no label can be called '{MEAN}', which stands for the mean in scores; choose"
                " another name"
            )

    @classmethod
    def of(cls, names: dict[int, str]) -> LabelTable:
        """A table with default colours from ``{value: name}``.

        Parameters
        ----------
        names : dict of int to str
            Background (0) must not be in it.
        """
        rows = sorted(names.items())
        return cls(
            tuple(
                Label(value=value, name=name, color=default_color(row))
                for row, (value, name) in enumerate(rows)
            )
        )

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def values(self) -> tuple[int, ...]:
        """The label values, ascending, without the background."""
        return tuple(label.value for label in self.labels)

    @property
    def ignored(self) -> int | None:
        """Value of the label named "ignore": of voxels that nobody judged; None without one."""
        return next((label.value for label in self.labels if label.name == IGNORE), None)

    @property
    def structures(self) -> LabelTable:
        """The table without the label named "ignore"."""
        return LabelTable(tuple(label for label in self.labels if label.name != IGNORE))

    @property
    def names(self) -> tuple[str, ...]:
        """The label names in the order of their values."""
        return tuple(label.name for label in self.labels)

    def check_values(self, values: Iterable[int], *, where: str = "the label map") -> None:
        """Raise `LabelError` when a value is neither background nor in the table."""
        unknown = sorted(set(values) - set(self.values) - {0})
        if unknown:
            listing = ", ".join(f"{label.value}={label.name}" for label in self.labels)
            raise LabelError(
                f"{where} holds the value(s) {unknown[:10]}, which its label table does not know"
                f" ({listing}); add them to the table or correct the map",
                code="UNKNOWN_LABEL",
            )


def default_color(row: int) -> tuple[int, int, int]:
    """A distinct colour for the `row`-th label: hues a golden angle apart.

    The first eight are the colour-blind safe set of Okabe and Ito (2008).
    """
    if row < len(_OKABE_ITO):
        return _OKABE_ITO[row]
    red, green, blue = colorsys.hsv_to_rgb(row * 0.618033988749895 % 1.0, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


_OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (153, 153, 153),
)
