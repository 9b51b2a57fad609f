"""Values of header fields: absent, unusable or good, whatever type a writer gave them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

_NUMBER = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_MOST_SHOWN = 64
_ODD = r"[^A-Za-z0-9.,;:/+_ \\-]"


def as_text(dataset: Dataset, keyword: str | int) -> str:
    """A field as text, several values joined by a backslash; empty when absent or blank."""
    value = _value(dataset, keyword)
    if value is None or isinstance(value, str):
        return (value or "").strip("\0 ")
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    items = value if isinstance(value, Iterable) else (value,)
    return "\\".join(str(item) for item in items)


def sanitized(text: str) -> str:
    """A UID or code word as it is when valid; odd characters as "?"."""
    return re.sub(r"[^A-Za-z0-9._ -]", "?", text)


def shown(dataset: Dataset, keyword: str) -> str:
    """A field's own text for a sentence, cut and in quotes; empty when absent or blank."""
    text = as_text(dataset, keyword)
    return f"'{re.sub(_ODD, '?', text[:_MOST_SHOWN])}'" if text else ""


def as_numbers(dataset: Dataset, keyword: str | int, count: int | None = None) -> tuple[float, ...]:
    """A field as finite numbers; empty when absent, not numbers, or not `count` of them.

    Text of any type is split at backslashes. A comma cannot stand in a decimal string (VR DS), so
    it is a decimal point there.

    References
    ----------
    DICOM PS3.5 6.2 (value representations).
    """
    value = _value(dataset, keyword)
    if value is None or value == "":
        return ()
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        value = value.split("\\")
    items = value if isinstance(value, Iterable) else (value,)
    try:
        numbers = tuple(_number(item) for item in items)
    except (TypeError, ValueError, OverflowError):
        return ()
    finite = all(abs(number) < float("inf") for number in numbers)
    return numbers if finite and count in (None, len(numbers)) else ()


def as_whole(dataset: Dataset, keyword: str) -> int | None:
    """A field of one whole number, whatever its type; None when absent or anything else."""
    value = _value(dataset, keyword)
    if type(value) is int:
        return value
    numbers = set(as_numbers(dataset, keyword))
    number = numbers.pop() if len(numbers) == 1 else 0.5
    return int(number) if number.is_integer() and not has_comma(dataset, keyword) else None


def put_whole(dataset: Dataset, keyword: str, number: int) -> None:
    """Set a field of one whole number, whatever type a writer gave it."""
    dataset.pop(_tag(keyword), None)
    setattr(dataset, keyword, number)


def settle_whole(dataset: Dataset, keyword: str) -> None:
    """Make a field that is a whole number in text, or twice the same, that number."""
    number = as_whole(dataset, keyword)
    if number is not None and not isinstance(_value(dataset, keyword), int):
        put_whole(dataset, keyword, number)


def _number(item: Any) -> float:
    """A number, or the number that a text is."""
    if not isinstance(item, str):
        return float(item)
    text = item.strip("\0 ")
    if not _NUMBER.fullmatch(text):
        raise ValueError(item)
    return float(text.replace(",", "."))


def has_comma(dataset: Dataset, keyword: str) -> bool:
    """Whether a field of numbers is written with decimal commas."""
    return "," in as_text(dataset, keyword)


def _value(dataset: Dataset, keyword: str | int) -> Any:
    """A field's value, its bytes when they cannot be what its type says; None when absent."""
    tag = _tag(keyword)
    try:
        element = dataset.get(tag)
        value = None if element is None else element.value
    except Exception:  # noqa: BLE001 - values are parsed late, and fail in every kind of way
        raw = dataset.get_item(tag).value
        value = raw if isinstance(raw, bytes) else None
    return value


def as_items(dataset: Dataset, keyword: str | int) -> Sequence[Dataset]:
    """The items of a sequence; none when absent, or when its bytes are no sequence."""
    value = _value(dataset, keyword)
    return value if isinstance(value, MutableSequence) else ()


@functools.cache
def tags_of(keywords: tuple[str | int, ...]) -> list[Any]:
    """The fields as tags, cached: pydicom would look each of them up again for each file."""
    return [_tag(keyword) for keyword in keywords]


@functools.cache
def _tag(keyword: str | int) -> Any:
    from pydicom.tag import Tag

    return Tag(keyword)
