"""Conditions on what headers say, such as ``Modality == "CT" and SliceThickness <= 3``.

They are Python expressions of a few kinds, evaluated by simpleeval: comparisons, ``and``, ``or``,
``not``, ``in``, arithmetic and the functions abs, len, lower, max, min, upper. There are no
attributes, and nothing that could run long.
"""

from __future__ import annotations

import ast
import difflib
import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import simpleeval

from medseg.discovery.stack_facts import FACTS, FREE_TEXT_FIELDS
from medseg.errors import InputError

_MOST_LETTERS = 500
_MOST_VALUE = 60
_MOST_SHOWN = 20
_KINDS = (
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Compare,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.In,
    ast.NotIn,
    ast.Is,
    ast.IsNot,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Subscript,
)


class _Missing:
    """Stands for a field that the header does not have; nothing compares with it but None."""

    def __bool__(self) -> bool:
        return False


_MISSING = _Missing()


@dataclass(frozen=True)
class Verdict:
    """Whether a condition holds.

    Parameters
    ----------
    holds : bool
    why : str
        Where it does not: the values found; those of free text are not told.
    """

    holds: bool
    why: str = ""


@dataclass(frozen=True)
class Condition:
    """One condition, checked when it is made."""

    text: str
    tree: ast.expr
    fields: tuple[str, ...]

    @property
    def asks_words(self) -> bool:
        """Whether it asks for free text, which can only be answered with the header at hand."""
        return any(name in FREE_TEXT_FIELDS for name in self.fields)

    def judge(self, values: Mapping[str, Any]) -> Verdict:
        """Evaluate it.

        Parameters
        ----------
        values : mapping
            Facts, and words where it asks for them.
        """
        names = {name: _value(values.get(name)) for name in self.fields}
        try:
            holds = bool(_evaluator(names).eval(self.text, self.tree))
        except (TypeError, ValueError, ArithmeticError, LookupError):
            return Verdict(holds=False, why=f"{self._found(names)}, which cannot be evaluated")
        except simpleeval.InvalidExpression as error:
            return Verdict(holds=False, why=f"it cannot be evaluated ({type(error).__name__})")
        return Verdict(holds=True) if holds else Verdict(holds=False, why=self._found(names))

    def _found(self, names: Mapping[str, Any]) -> str:
        """The values of its fields, for a person."""
        shown = [f"{name} is {_shown(name, value)}" for name, value in names.items()]
        if len(shown) == 1:
            return "it is " + _shown(*next(iter(names.items())))
        return ", ".join(shown) or "it never holds"


def conditions_of(text: str) -> list[Condition]:
    """The conditions of an expression, of which all must hold.

    Parameters
    ----------
    text : str
        An expression. Parts joined by ``and`` become conditions of their own, so that one can
        tell which does not hold.

    Raises
    ------
    InputError
        Code ``RULE_SYNTAX``: what is wrong, and where.
    """
    stripped = text.strip()
    tree = _parsed(stripped)
    for node in ast.walk(tree):
        _check(node, stripped)
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    return [_condition(part, stripped) for part in parts]


def _condition(tree: ast.expr, text: str) -> Condition:
    calls = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    fields = [
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in calls
    ]
    own = ast.get_source_segment(text, tree) or ast.unparse(tree)
    return Condition(own, tree, tuple(dict.fromkeys(fields)))


def _parsed(text: str) -> ast.expr:
    if not text or len(text) > _MOST_LETTERS:
        raise _wrong(text[:_MOST_VALUE], f"has {len(text)} characters; write 1 to {_MOST_LETTERS}")
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _wrong(text, _misunderstood(text, error)) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _wrong(text[:_MOST_VALUE], "is not understood; write it simpler") from error


def _misunderstood(text: str, error: SyntaxError) -> str:
    """From where on an expression is no expression."""
    rest = text[max((error.offset or 1) - 1, 0) :]
    if not rest or text.endswith(("=", "<", ">", "and", "or", "not", "in", "+", "-", "(", ",")):
        return "ends too early"
    hint = "; write == to compare" if "==" not in text and "=" in text else ""
    return f"is not understood from {rest[:_MOST_SHOWN]!r} on{hint}"


def _check(node: ast.AST, text: str) -> None:
    """Raise `InputError` for what a condition may not hold."""
    if not isinstance(node, _KINDS):
        part = ast.get_source_segment(text, node) if isinstance(node, ast.expr) else None
        what = repr(part) if part else type(node).__name__
        raise _wrong(text, f"holds {what}, which is more than a comparison of header fields")
    if isinstance(node, ast.Call):
        _check_call(node, text)
    elif isinstance(node, ast.Name) and node.id not in (*FACTS, *FREE_TEXT_FIELDS, *_FUNCTIONS):
        close = difflib.get_close_matches(
            node.id, [*FACTS, *FREE_TEXT_FIELDS], 3, 0.6
        ) or _same_letters(node)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {_KNOWN}"
        raise _wrong(text, f"asks for {node.id}, which is no field that is read; {hint}")


def _same_letters(node: ast.Name) -> list[str]:
    return [name for name in (*FACTS, *FREE_TEXT_FIELDS) if name.casefold() == node.id.casefold()]


def _check_call(node: ast.Call, text: str) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in _FUNCTIONS or node.keywords:
        raise _wrong(text, f"calls something else than {', '.join(sorted(_FUNCTIONS))}")


def _wrong(text: str, what: str) -> InputError:
    return InputError(f"the rule '{text}' {what}", code="RULE_SYNTAX")


def _value(value: Any) -> Any:
    return _MISSING if value is None else value


def _shown(name: str, value: Any) -> str:
    """A value for a person; not that of free text."""
    if isinstance(value, _Missing):
        return "not known"
    if name in FREE_TEXT_FIELDS:
        return "something else"
    text = f'"{value}"' if isinstance(value, str) else _listed(value)
    return text if len(text) <= _MOST_VALUE else text[:_MOST_VALUE] + "..."


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown("", one) for one in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _evaluator(names: Mapping[str, Any]) -> simpleeval.EvalWithCompoundTypes:
    evaluator = simpleeval.EvalWithCompoundTypes(operators=_OPERATORS, names=dict(names))
    evaluator.functions = _FUNCTIONS
    return evaluator


def _known(function: Callable[..., Any], otherwise: Any) -> Callable[..., Any]:
    """The function, with another value where a field is missing."""

    @functools.wraps(function)
    def known(*values: Any) -> Any:
        return otherwise if any(value is _MISSING for value in values) else function(*values)

    return known


def _numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic with numbers only: texts and lists could be made to grow."""

    @functools.wraps(function)
    def checked(*values: Any) -> Any:
        if any(value is _MISSING for value in values):
            return _MISSING
        if not all(isinstance(value, int | float) for value in values):
            raise TypeError("not numbers")
        return function(*map(float, values))

    return checked


def _equal(first: Any, second: Any) -> bool:
    if first is _MISSING or second is _MISSING:
        return None in (first, second) or first is second
    return bool(first == second)


def _unequal(first: Any, second: Any) -> bool:
    """Whether both are known and differ; a missing field differs from nothing."""
    if first is _MISSING or second is _MISSING:
        return False
    return bool(first != second)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": _known(abs, _MISSING),
    "len": _known(len, _MISSING),
    "lower": _known(lambda text: str(text).lower(), _MISSING),
    "upper": _known(lambda text: str(text).upper(), _MISSING),
    "max": _known(max, _MISSING),
    "min": _known(min, _MISSING),
}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _numbers(operator.add),
    ast.Sub: _numbers(operator.sub),
    ast.Mult: _numbers(operator.mul),
    ast.Div: _numbers(operator.truediv),
    ast.USub: _numbers(operator.neg),
    ast.Not: operator.not_,
    ast.Eq: _equal,
    ast.NotEq: _unequal,
    ast.Is: _equal,
    ast.IsNot: _unequal,
    ast.Lt: _known(operator.lt, False),
    ast.LtE: _known(operator.le, False),
    ast.Gt: _known(operator.gt, False),
    ast.GtE: _known(operator.ge, False),
    ast.In: _known(lambda item, group: item in group, False),
    ast.NotIn: _known(lambda item, group: item not in group, False),
}
_KNOWN = ", ".join((*FACTS, *FREE_TEXT_FIELDS))
