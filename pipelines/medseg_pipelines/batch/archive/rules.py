"""Which scans are wanted, and why the others are not.

The first rule that takes a scan decides. Descriptions, and other fields in which people write what
they like, are matched by the search while it reads the headers; they are not kept.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from medseg.errors import InputError
from medseg_pipelines.batch.archive.conditions import Condition, Verdict, conditions_of
from medseg_pipelines.batch.messages import Fault, ScanRecord

Plane = Literal["axial", "coronal", "sagittal", "oblique"]
_MOST_PATTERN = 200
_MOST_DESCRIPTION = 256
_MOST_TOLD = 3


class RuleText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule, as it is written; all that it says must hold.

    Parameters
    ----------
    name : str
    where : tuple of str
    description : tuple of str
        Patterns (``*`` and ``?``, or a regular expression between slashes) of which one must fit
        the SeriesDescription, in capitals or not.
    exclude : tuple of str
        Patterns of which none may fit.
    orientation : tuple of {"axial", "coronal", "sagittal", "oblique"}
        Planes of the slices, of which one must be the scan's.
    min_slices : int
    model : str
        What the scan is for; empty leaves that to whoever runs.
    """

    name: str = ""
    where: tuple[str, ...] = ()
    description: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    orientation: tuple[Plane, ...] = ()
    min_slices: int = 0
    model: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule that was checked."""

    text: RuleText
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, text: RuleText) -> Rule:
        """Check a rule.

        Raises
        ------
        InputError
            Code ``RULE_SYNTAX``.
        """
        for pattern in (*text.description, *text.exclude):
            _compiled(pattern)
        conditions = [one for where in text.where for one in conditions_of(where)]
        return cls(text, tuple(conditions))

    @property
    def questions(self) -> tuple[str, ...]:
        """What has to be asked with the header at hand."""
        asked = [one.text for one in self.conditions if one.asks_words]
        patterns = (*self.text.description, *self.text.exclude)
        return (*asked, *(_question(pattern) for pattern in patterns))

    def fault(self, found: ScanRecord) -> str:
        """What does not hold of a scan, and the value found; empty when all does."""
        for condition in self.conditions:
            verdict = _answered(condition, found)
            if not verdict.holds:
                return f"{condition.text}: {verdict.why}"
        return self._plane(found) or self._size(found) or self._description(found)

    def _plane(self, found: ScanRecord) -> str:
        wanted, plane = self.text.orientation, found.facts.get("plane")
        if not wanted or plane in wanted:
            return ""
        return f"orientation {' or '.join(wanted)}: it is {plane or 'not known'}"

    def _size(self, found: ScanRecord) -> str:
        fewest, slices = self.text.min_slices, found.facts.get("slices")
        if not fewest or (isinstance(slices, int) and slices >= fewest):
            return ""
        return f"at least {fewest} slices: it has {slices if slices is not None else 'no known'}"

    def _description(self, found: ScanRecord) -> str:
        fits = {pattern: found.answers.get(_question(pattern)) for pattern in self.text.description}
        if fits and not any(fits.values()):
            return f"SeriesDescription like {' or '.join(fits)}: it is something else"
        out = [pattern for pattern in self.text.exclude if _fits(pattern, found) is not False]
        return f"SeriesDescription not like {out[0]}: it is" if out else ""


@dataclass(frozen=True)
class Rules:
    """Which scans are wanted.

    Parameters
    ----------
    always : tuple of Rule
        All of them must take a scan.
    rules : tuple of Rule
        The first that takes a scan decides; when there are none, every scan is taken.
    model : str
        When it is not empty, only scans for this model are wanted.
    """

    always: tuple[Rule, ...] = ()
    rules: tuple[Rule, ...] = ()
    model: str = ""

    @property
    def questions(self) -> tuple[str, ...]:
        """What has to be asked with the header at hand."""
        asked = [one for rule in (*self.always, *self.rules) for one in rule.questions]
        return tuple(dict.fromkeys(asked))

    @property
    def models(self) -> tuple[str, ...]:
        """Models that rules name, in their order."""
        return tuple(dict.fromkeys(rule.text.model for rule in self.rules if rule.text.model))

    def only(self, model: str) -> Rules:
        """The same rules for the scans that they give to one model.

        Parameters
        ----------
        model : str
            As a rule names it.
        """
        return replace(self, model=model)

    def ask(self, values: Mapping[str, Any]) -> dict[str, bool]:
        """Answer all questions.

        Parameters
        ----------
        values : mapping
            Facts and words of a header.
        """
        answers = {}
        for rule in (*self.always, *self.rules):
            for condition in rule.conditions:
                if condition.asks_words:
                    answers[condition.text] = condition.judge(values).holds
            for pattern in (*rule.text.description, *rule.text.exclude):
                said = str(values.get("SeriesDescription") or "")[:_MOST_DESCRIPTION]
                answers[_question(pattern)] = bool(_compiled(pattern).search(said))
        return answers


class RuleSet(msgspec.Struct, frozen=True, kw_only=True):
    """What rules make of a scan.

    Parameters
    ----------
    rule : str
        Name of the rule that takes it.
    model : str
        What that rule gives it to; may be empty.
    fault : Fault or None
        Why it is not wanted.
    """

    rule: str = ""
    model: str = ""
    fault: Fault | None = None


def choose(found: ScanRecord, rules: Rules) -> RuleSet:
    """What rules make of a scan.

    Parameters
    ----------
    found : ScanRecord
        From a search that was given the same rules.
    rules : Rules
    """
    for rule in rules.always:
        if reason := rule.fault(found):
            return _unwanted(_by_name(rule, reason))
    reasons = []
    for rule in rules.rules:
        reason = rule.fault(found)
        if not reason:
            return _taken(rule, rules.model)
        reasons.append(_by_name(rule, reason))
    if not reasons:
        return RuleSet()
    left = len(reasons) - _MOST_TOLD
    more = f"; and {left} more" if left > 0 else ""
    return _unwanted("; ".join(reasons[:_MOST_TOLD]) + more)


def select(found: ScanRecord, rules: Rules) -> Fault | None:
    """Why a scan is not wanted; None when it is.

    Parameters
    ----------
    found : ScanRecord
        From a search that was given the same rules.
    rules : Rules

    Returns
    -------
    Fault or None
        Code ``RULE``: which rule, and the value found.
    """
    return choose(found, rules).fault


def explain(scans: Sequence[ScanRecord], rules: Rules) -> list[tuple[ScanRecord, RuleSet]]:
    """Which scans would run, and why the rest would not; what cannot be read comes with its fault.

    Parameters
    ----------
    scans : sequence of ScanRecord
        From a search that was given the same rules.
    rules : Rules

    Returns
    -------
    list of (Found, Choice)
        In the order of the scans.
    """
    return [
        (found, RuleSet(fault=found.fault) if found.fault else choose(found, rules))
        for found in scans
    ]


def _taken(rule: Rule, model: str) -> RuleSet:
    text = rule.text
    if model and text.model and model != text.model:
        return _unwanted(f"rule {text.name} gives it to the model {text.model}")
    return RuleSet(rule=text.name, model=text.model)


def _unwanted(message: str) -> RuleSet:
    return RuleSet(fault=Fault(code="RULE", message=message))


def _by_name(rule: Rule, reason: str) -> str:
    return f"{rule.text.name}: {reason}" if rule.text.name else reason


def _answered(condition: Condition, found: ScanRecord) -> Verdict:
    """A condition on facts; or the answer that the search gave to one on words."""
    if not condition.asks_words:
        return condition.judge(found.facts)
    answer = found.answers.get(condition.text)
    return Verdict(holds=bool(answer), why="it is not so" if answer is False else "it is not known")


def _fits(pattern: str, found: ScanRecord) -> bool | None:
    return found.answers.get(_question(pattern))


def _question(pattern: str) -> str:
    return f"SeriesDescription like {pattern}"


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern, checked."""
    if not pattern or len(pattern) > _MOST_PATTERN:
        raise InputError(
            f"the pattern '{pattern[:20]}' has {len(pattern)} characters; write 1 to"
            f" {_MOST_PATTERN}",
            code="RULE_SYNTAX",
        )
    is_regular = len(pattern) > 2 and pattern[0] == pattern[-1] == "/"
    source = pattern[1:-1] if is_regular else f"^{fnmatch.translate(pattern)}"
    try:
        return re.compile(source, re.IGNORECASE)
    except re.error as error:
        raise InputError(
            f"the pattern '{pattern}' is no regular expression: {error}", code="RULE_SYNTAX"
        ) from error
