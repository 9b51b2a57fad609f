"""Which scans are wanted, and why the others are not: options of the command line, or a TOML file.

The first rule that takes a scan decides. Descriptions, and other fields in which people write what
they like, are matched by the search while it reads the headers; they are not kept.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from medseg.errors import InputError, ReadError
from medseg_pipelines.batch.archive.conditions import (
    Comparison,
    Condition,
    Scalar,
    parse_condition,
    rule_error,
)
from medseg_pipelines.batch.messages import Fault, ScanRecord

Plane = Literal["axial", "coronal", "sagittal", "oblique"]
_MOST_REASONS = 3
_MOST_FILE_BYTES = 1 << 20


class RuleText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule, as it is written; all that it says must hold."""

    name: str = ""
    where: dict[str, Comparison | Scalar] = {}  # by fact; a plain value is `equals`
    description: tuple[str, ...] = ()  # patterns of which one must fit the SeriesDescription
    exclude: tuple[str, ...] = ()  # patterns of which none may fit
    orientation: tuple[Plane, ...] = ()  # planes of the slices, of which one must be the scan's
    min_slices: int = 0
    model: str = ""  # what the scan is for; empty leaves that to whoever runs

    def conditions(self) -> Iterator[Condition]:
        """All that must hold of a scan."""
        for fact, wanted in self.where.items():
            comparison = wanted if isinstance(wanted, Comparison) else Comparison(equals=wanted)
            yield from comparison.conditions(fact)
        if self.orientation:
            yield Condition.of("plane", "=", self.orientation)
        if self.min_slices:
            yield Condition.of("slices", ">=", (self.min_slices,))
        if self.description:
            yield Condition.of("SeriesDescription", "~", self.description)
        if self.exclude:
            yield Condition.of("SeriesDescription", "!~", self.exclude)


@dataclass(frozen=True)
class Rule:
    """A rule that was checked."""

    text: RuleText
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, text: RuleText) -> Rule:
        """Check a rule; raises `InputError` with code ``RULE_SYNTAX``."""
        return cls(text, tuple(text.conditions()))

    def reason(self, scan: ScanRecord) -> str:
        """What does not hold of a scan, and the value it has; empty when all does."""
        reasons = (condition.reason(scan) for condition in self.conditions)
        first = next(filter(None, reasons), "")
        return f"{self.text.name}: {first}" if first and self.text.name else first


@dataclass(frozen=True)
class Rules:
    """Which scans are wanted."""

    always: tuple[Condition, ...] = ()  # all of them must hold
    rules: tuple[Rule, ...] = ()  # the first that takes a scan decides; every scan when none
    model: str = ""  # when it is not empty, only scans for this model are wanted

    @property
    def questions(self) -> tuple[str, ...]:
        """What has to be asked with the header at hand."""
        return tuple(self.ask({}))

    @property
    def models(self) -> tuple[str, ...]:
        """Models that rules name, in their order."""
        return tuple(dict.fromkeys(rule.text.model for rule in self.rules if rule.text.model))

    def only(self, model: str) -> Rules:
        """The same rules for the scans that they give to one model."""
        return replace(self, model=model)

    def ask(self, facts: Mapping[str, Any]) -> dict[str, bool]:
        """Answers to all conditions on free text, by their text."""
        of_rules = (condition for rule in self.rules for condition in rule.conditions)
        return {
            condition.text: condition.holds(facts)
            for condition in (*self.always, *of_rules)
            if condition.is_about_free_text
        }


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What rules make of a scan."""

    rule: str = ""  # name of the rule that takes it
    model: str = ""  # what that rule gives it to; may be empty
    fault: Fault | None = None  # why it is not wanted


def decide(scan: ScanRecord, rules: Rules) -> Decision:
    """What rules make of a scan, which is from a search that was given the same rules."""
    for condition in rules.always:
        if reason := condition.reason(scan):
            return _unwanted(reason)
    reasons = []
    for rule in rules.rules:
        if reason := rule.reason(scan):
            reasons.append(reason)
            continue
        name, model = rule.text.name, rule.text.model
        if rules.model and model and rules.model != model:
            return _unwanted(f"rule {name} gives it to the model {model}")
        return Decision(rule=name, model=model)
    if not reasons:
        return Decision()
    left = len(reasons) - _MOST_REASONS
    more = f"; and {left} more" if left > 0 else ""
    return _unwanted("; ".join(reasons[:_MOST_REASONS]) + more)


def select(scan: ScanRecord, rules: Rules) -> Fault | None:
    """Why a scan is not wanted (code ``RULE``); None when it is."""
    return decide(scan, rules).fault


def make_rules(
    *,
    where: Iterable[str] = (),
    description: Iterable[str] = (),
    exclude: Iterable[str] = (),
    orientation: Iterable[Plane] = (),
    rules_file: Path | None = None,
) -> Rules:
    """Check the rules of the command line before anything runs; all of them must hold.

    `where` has comparisons such as ``Modality=CT``, ``SliceThickness<=3`` or
    ``SeriesDescription~*lung*``; one of `description` and none of `exclude` must fit the
    SeriesDescription; one rule of the file must take the scan. Raises `ReadError` when the file
    cannot be read, `InputError` with code ``RULE_SYNTAX`` for what is no rule.
    """
    patterns = RuleText(
        description=tuple(description), exclude=tuple(exclude), orientation=tuple(orientation)
    )
    always = (*map(parse_condition, where), *patterns.conditions())
    return Rules(always, read_rules(rules_file) if rules_file is not None else ())


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Read a file of rules, in their order; those without a name are called by their number."""
    try:
        with path.open("rb") as file:
            stored = file.read(_MOST_FILE_BYTES)
        texts = msgspec.convert(tomllib.loads(stored.decode()), _File).rule
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise ReadError(f"the rules '{path}' cannot be opened: {reason}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise rule_error(f"the rules '{path.name}': {error}") from error
    rules = []
    for number, text in enumerate(texts, start=1):
        named = msgspec.structs.replace(text, name=text.name or str(number))
        try:
            rules.append(Rule.of(named))
        except InputError as error:
            raise rule_error(f"{path.name}, rule {named.name}: {error}") from error
    return tuple(rules)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of rules."""

    rule: tuple[RuleText, ...]


def _unwanted(message: str) -> Decision:
    return Decision(fault=Fault(code="RULE", message=message))
