"""Conditions on what headers say: comparisons of one fact each, without any expressions."""

from __future__ import annotations

import difflib
import fnmatch
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from medseg.discovery.stack_facts import FACTS, FREE_TEXT_FIELDS
from medseg.errors import InputError
from medseg_pipelines.batch.messages import ScanRecord

Scalar = str | int | float
_Operator = Literal["=", "!=", "~", "!~", ">=", "<=", "known"]
_NEGATIVE = ("!=", "!~")
_PATTERN_TEXT = {"~": "like", "!~": "not like"}
_COMPARISON = re.compile(r"\s*(\w+)\s*(>=|<=|!=|!~|==|=|~)\s*(.*?)\s*", re.DOTALL)
_NAMES = (*FACTS, *FREE_TEXT_FIELDS)
_MOST_PATTERN = 200
_MOST_TEXT = 256
_MOST_SHOWN = 60
_OneOrMore = Annotated[tuple[Scalar, ...], msgspec.Meta(min_length=1)]
_Patterns = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold of a fact; all that is given.

    Of a fact with several values (``ImageType``, ``spacing_mm``) one must be equal or fit, none may
    be among those left out, and all must lie within `min` and `max`.
    """

    equals: Scalar | None = None
    one_of: _OneOrMore | None = None
    none_of: _OneOrMore | None = None
    pattern: str | _Patterns | None = None  # * and ?, or a regular expression between slashes
    not_pattern: str | _Patterns | None = None
    min: float | None = None
    max: float | None = None
    # Whether the header must have it, or must not.
    is_known: bool | None = msgspec.field(default=None, name="known")

    def conditions(self, fact: str) -> Iterator[Condition]:
        """One condition for each comparison that is given."""
        given: tuple[tuple[_Operator, Any], ...] = (
            ("=", self.equals),
            ("=", self.one_of),
            ("!=", self.none_of),
            ("~", self.pattern),
            ("!~", self.not_pattern),
            (">=", self.min),
            ("<=", self.max),
            ("known", self.is_known),
        )
        for operator, values in given:
            if values is not None:
                some = values if isinstance(values, tuple) else (values,)
                yield Condition.of(fact, operator, some)


@dataclass(frozen=True)
class Condition:
    """One comparison of one fact."""

    fact: str
    operator: _Operator
    values: tuple[Scalar, ...]

    @classmethod
    def of(cls, fact: str, operator: _Operator, values: tuple[Scalar, ...]) -> Condition:
        """A condition that was checked."""
        if fact not in _NAMES:
            raise rule_error(f"'{fact}' is no fact that is read; {_hint(fact)}")
        if operator in _PATTERN_TEXT:
            for pattern in values:
                _compiled(str(pattern))
        return cls(fact, operator, values)

    @property
    def text(self) -> str:
        """For a person, and the name of its answer in a `ScanRecord`."""
        if self.operator == "known":
            return f"{self.fact} is known" if self.values[0] else f"{self.fact} is not known"
        values = " or ".join(_number(value) for value in self.values)
        return f"{self.fact} {_PATTERN_TEXT.get(self.operator, self.operator)} {values}"

    @property
    def is_about_free_text(self) -> bool:
        """Whether it can only be answered with the header at hand."""
        return self.fact in FREE_TEXT_FIELDS

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Whether it holds of facts, free text among them where it asks for that."""
        value = facts.get(self.fact)
        if self.operator == "known":
            return (value is not None) == self.values[0]
        if value is None and self.fact == "SeriesDescription" and self.operator in _PATTERN_TEXT:
            value = ""  # "*" is like every description, also that of a file that has none
        if value is None:
            return self.operator in _NEGATIVE
        items = value if isinstance(value, list) else [value]
        results = (self._compare(item) for item in items)
        return any(results) if self.operator in ("=", "~") else all(results)

    def reason(self, scan: ScanRecord) -> str:
        """Why a scan does not fulfil it, with the value it has; empty when it does."""
        if not self.is_about_free_text:
            shown = _shown(scan.facts.get(self.fact))
            return "" if self.holds(scan.facts) else f"{self.text}: it is {shown}"
        answer = scan.answers.get(self.text)
        if answer is None:
            return f"{self.text}: it is not known"
        positive = "it is" if self.operator in _NEGATIVE else "it is something else"
        return "" if answer else f"{self.text}: {positive}"

    def _compare(self, value: Any) -> bool:
        if self.operator == ">=":
            return isinstance(value, int | float) and value >= float(self.values[0])
        if self.operator == "<=":
            return isinstance(value, int | float) and value <= float(self.values[0])
        if self.operator in _PATTERN_TEXT:
            text = _number(value)[:_MOST_TEXT]
            fits = any(_compiled(str(pattern)).search(text) for pattern in self.values)
            return fits == (self.operator == "~")
        same = any(_is_same(value, wanted) for wanted in self.values)
        return same == (self.operator == "=")


def parse_condition(text: str) -> Condition:
    """The condition that ``--where`` gives."""
    match = _COMPARISON.fullmatch(text)
    fact, operator, value = match.groups() if match else ("", "", "")
    operator = "=" if operator == "==" else operator
    if operator in ("=", "!=") and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    if not value or (operator not in _PATTERN_TEXT and re.search(r"[=<>\"']", value)):
        raise rule_error(
            f"--where '{text[:_MOST_SHOWN]}' is not understood; write one comparison, such as"
            " Modality=CT, SliceThickness<=3 or SeriesDescription~*lung*, and --where again for"
            " the next"
        )
    if operator in (">=", "<=") and not _is_number(value):
        raise rule_error(f"--where '{text[:_MOST_SHOWN]}': '{value}' is no number")
    return Condition.of(fact, operator, (value,))  # type: ignore[arg-type]


def rule_error(message: str) -> InputError:
    """What is wrong with a rule."""
    return InputError(message, code="RULE_SYNTAX")


def _hint(fact: str) -> str:
    names = {name.casefold(): name for name in _NAMES}
    close = difflib.get_close_matches(fact.casefold(), names, 3, 0.7)
    if close:
        return f"did you mean {' or '.join(names[name] for name in close)}?"
    return f"known are {', '.join(names.values())}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_same(value: Any, wanted: Scalar) -> bool:
    if isinstance(value, int | float):
        return _is_number(str(wanted)) and value == float(wanted)
    return str(value) == str(wanted)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shown(value: object) -> str:
    """A value for a person."""
    if value is None:
        return "not known"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    text = f'"{value}"' if isinstance(value, str) else _number(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern, checked."""
    if not pattern or len(pattern) > _MOST_PATTERN:
        raise rule_error(
            f"the pattern '{pattern[:20]}' has {len(pattern)} characters; write 1 to"
            f" {_MOST_PATTERN}"
        )
    is_regular = len(pattern) > 2 and pattern[0] == pattern[-1] == "/"
    source = pattern[1:-1] if is_regular else f"^{fnmatch.translate(pattern)}"
    try:
        return re.compile(source, re.IGNORECASE)
    except re.error as error:
        raise rule_error(f"the pattern '{pattern}' is no regular expression: {error}") from error
