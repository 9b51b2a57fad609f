"""The configuration of a MONAI bundle as data: references and a few expressions, read as text.

Nothing in it is executed. An expression (``$...``) is parsed, and only a few forms have a value.
One that medseg does not need must call nothing but what lists files and sets up a run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from medseg.errors import PackageError

_REFERENCE = re.compile(r"@((?:\w+)(?:(?:#|::)\w+)*)")
_NAME = "ref_"
_PLAIN_IMPORT = re.compile(r"\$(import [\w.]+( as \w+)?|from [\w.]+ import \w+(, *\w+)*)\s*")
_UNREAD_CALLS = {
    *("dict", "enumerate", "float", "glob.glob", "int", "len", "list", "range", "sorted", "str"),
    *("monai.data.load_decathlon_datalist", "monai.utils.set_determinism", "os.listdir"),
    *("os.path.basename", "os.path.dirname", "os.path.exists", "os.path.join", "pd.read_csv"),
    *("pandas.read_csv", "setattr", "torch.cuda.is_available", "torch.device", "torch.where"),
    *("torch.jit.load", "tuple", "zip"),
}
"""Calls in expressions that medseg has no need of and does not execute."""
_TARGET = re.compile(r"[A-Z]\w*|monai(\.\w+)+|ignite(\.\w+)+|torch\.device|torch\.utils\.data\.\w+")
_NUMBERS = re.compile(r"(?:torch|numpy|np)\.((?:u?int|float)\d+|bool)")
_DEEPEST = 40
_OWN_CODE = ", nor know as plain data; a bundle with code of its own runs in MONAI only"


class Config:
    """One configuration file, decoded.

    Parameters
    ----------
    content : dict
    where : str
        The file, for messages.

    Raises
    ------
    PackageError
        When an expression or the name of a class in it is none of a bundle that needs no code of
        its own.
    """

    def __init__(self, content: dict[str, Any], where: str) -> None:
        self.content = content
        self.where = where
        for text in _texts(content.get("imports", [])):
            if not _PLAIN_IMPORT.fullmatch(text):
                raise self.refusal(text)
        for text in _texts({key: value for key, value in content.items() if key != "imports"}):
            if text.startswith("$"):
                self._check_calls(text)
        for target in _targets(content):
            if not _TARGET.fullmatch(str(target)):
                raise self.refusal(f"_target_: {target}")

    def refusal(self, text: str, why: str = _OWN_CODE) -> PackageError:
        """The error for something that medseg does not take from a bundle."""
        return PackageError(
            f"'{self.where}' holds '{text[:120]}', which medseg does not execute{why}",
            code="UNSAFE",
        )

    def value(self, raw: Any, depth: int = 0) -> Any:
        """`raw` with its references and expressions resolved.

        Raises
        ------
        PackageError
            When something in it is not known as data.
        """
        if depth > _DEEPEST:
            raise self.refusal(str(raw), "; its references lead in a circle")
        if isinstance(raw, dict):
            return {key: self.value(entry, depth + 1) for key, entry in raw.items()}
        if isinstance(raw, list):
            return [self.value(entry, depth + 1) for entry in raw]
        if isinstance(raw, str) and raw.startswith("$"):
            return self._evaluated(raw, depth + 1)
        if isinstance(raw, str) and raw.startswith("@"):
            return self._referred(raw[1:], depth + 1)
        return raw

    def get(self, name: str, default: Any = None) -> Any:
        """The resolved value of a key at the top."""
        return self.value(self.content[name]) if name in self.content else default

    def _referred(self, name: str, depth: int) -> Any:
        raw: Any = self.content
        for part in re.split("#|::", name):
            raw = raw[int(part)] if isinstance(raw, list) and part.isdigit() else raw
            if isinstance(raw, dict):
                if part not in raw:
                    raise self.refusal(f"@{name}", f", and has no '{part}'")
                raw = raw[part]
        return self.value(raw, depth)

    def _evaluated(self, text: str, depth: int) -> Any:
        names, tree = _parsed(text)
        referred = {name: self._referred(name_there, depth) for name, name_there in names.items()}
        try:
            return _value(tree, referred)
        except _NoValueError as error:
            raise self.refusal(text) from error

    def _check_calls(self, text: str) -> None:
        names, tree = _parsed(text)
        if tree is None:
            raise self.refusal(text)
        for node in ast.walk(tree):
            word = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
            if word.startswith("__"):
                raise self.refusal(text)
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called not in _UNREAD_CALLS and called.split(".")[0] not in names:
                    raise self.refusal(text)


class _NoValueError(Exception):
    """An expression is of another form than those that have a value."""


def _value(node: ast.expr | None, referred: dict[str, Any]) -> Any:
    """What an expression of a known form stands for."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in referred:
        return referred[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(entry, referred) for entry in node.elts]
    if isinstance(node, ast.IfExp):
        branch = node.body if _value(node.test, referred) else node.orelse
        return _value(branch, referred)
    return _computed(node, referred)


def _computed(node: ast.expr | None, referred: dict[str, Any]) -> Any:
    """A joined text or list, a negative number, the length of a list, the name of a type."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        first, second = _value(node.left, referred), _value(node.right, referred)
        if type(first) is type(second) and isinstance(first, str | list):
            return first + second
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand, referred)
        if isinstance(number, int | float):
            return -number
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "len" and len(node.args) == 1:
        return len(_value(node.args[0], referred))
    number_type = None if node is None else _NUMBERS.fullmatch(ast.unparse(node))
    if number_type is None:
        raise _NoValueError
    return number_type[1]


def _parsed(text: str) -> tuple[dict[str, str], ast.expr | None]:
    """Names that stand for references in the parsed expression, and what it is."""
    names: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        name = f"{_NAME}{len(names)}"
        names[name] = match[1]
        return name

    try:
        return names, ast.parse(_REFERENCE.sub(named, text[1:]).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return names, None


def overlay_of(text: str) -> list[list[int]] | None:
    """Pairs (channel, value) of ``lambda x: torch.where(x[[c]] > 0, v, ...)``; None for others."""
    _, tree = _parsed(text)
    if not isinstance(tree, ast.Lambda) or [each.arg for each in tree.args.args] != ["x"]:
        return None
    pairs: list[list[int]] = []
    rest: ast.expr = tree.body
    while isinstance(rest, ast.Call) and ast.unparse(rest.func) == "torch.where":
        channel = re.fullmatch(r"x\[\[(\d+)\]\] > 0", ast.unparse(rest.args[0]))
        value = rest.args[1]
        if not channel or not isinstance(value, ast.Constant) or not isinstance(value.value, int):
            return None
        pairs.append([int(channel[1]), value.value])
        rest = rest.args[2]
    return pairs if pairs and ast.unparse(rest) == "0" else None


def is_foreground(text: str) -> bool:
    """Whether an expression leaves out the first channel: ``$lambda x: x[1:]``."""
    _, tree = _parsed(text)
    return tree is not None and ast.unparse(tree) == "lambda x: x[1:]"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value


def _targets(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield value["_target_"]
        for entry in value.values():
            yield from _targets(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _targets(entry)
