"""What is public is explained, and a Parameters section names exactly what there is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

from architecture.house import LIBRARY, PACKAGES, ROOT, place, python_files, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef
INHERITED = {"forward", "backward", "setup_context"}  # explained by torch


def public(node: ast.Module | ast.ClassDef, path: Path) -> Iterator[ast.ClassDef | Function]:
    """Public classes, functions and methods, without those that torch already explains."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
            if isinstance(node, ast.ClassDef) and child.name in INHERITED:
                continue
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child, path)


def everything_public() -> list[tuple[Path, ast.ClassDef | Function]]:
    return [
        (path, node)
        for path in python_files(*PACKAGES)
        if not path.stem.startswith("_") or path.stem == "__init__"
        for node in public(tree(path), path)
    ]


def documented(node: ast.ClassDef | Function) -> set[str]:
    """Names in the Parameters section; empty when there is none."""
    rows = NumpyDocString(ast.get_docstring(node) or "")["Parameters"]
    return {name.strip(" *") for row in rows for name in row.name.split(",")}


def arguments(node: Function, *, method: bool) -> set[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    stars = [star for star in (node.args.vararg, node.args.kwarg) if star is not None]
    static = any(getattr(name, "id", "") == "staticmethod" for name in node.decorator_list)
    names = [argument.arg for argument in every]
    return {*(names[1:] if method and not static else names), *(star.arg for star in stars)}


def parts(node: ast.ClassDef) -> tuple[set[str], set[str]]:
    """What a class must document (fields or arguments) and what else it may."""
    fields = {
        child.target.id
        for child in node.body
        if isinstance(child, ast.AnnAssign)
        and isinstance(child.target, ast.Name)
        and "ClassVar" not in ast.unparse(child.annotation)
        and child.target.id[0] != "_"
        and not (child.value and "init=False" in ast.unparse(child.value))
    }
    methods = {child.name: child for child in node.body if isinstance(child, Function)}
    if "__init__" in methods:
        return arguments(methods["__init__"], method=True), fields
    if "__call__" in methods:
        return set(), fields | arguments(methods["__call__"], method=True)
    return fields, set()


def mismatch(node: ast.ClassDef | Function, *, method: bool) -> str:
    names = documented(node)
    if not names:
        return ""
    if isinstance(node, ast.ClassDef):
        must, may = parts(node)
    else:
        must, may = arguments(node, method=method), set()
    missing, unknown = must - names, names - must - may
    words = [f"not documented: {sorted(missing)}"] if missing else []
    words += [f"no such parameter: {sorted(unknown)}"] if unknown else []
    return ", ".join(words)


def test_every_module_says_what_it_is_for():
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in python_files(*PACKAGES)
        if not ast.get_docstring(tree(path))
    ]
    assert not silent


def test_every_public_thing_has_a_docstring():
    silent = [
        f"{place(path, node)} {node.name}"
        for path, node in everything_public()
        if not ast.get_docstring(node) and not _is_said_elsewhere(node)
    ]
    assert not silent


def test_a_parameters_section_names_exactly_the_parameters():
    wrong = []
    for path, node in everything_public():
        method = any(
            node in owner.body for owner in ast.walk(tree(path)) if isinstance(owner, ast.ClassDef)
        )
        words = mismatch(node, method=method)
        if words:
            wrong.append(f"{place(path, node)} {node.name}: {words}")
    assert not wrong, "\n".join(wrong)


SECTION = """First line.

    Parameters
    ----------
    {} : int
    """


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"def f(a, b):\n    '''{SECTION.format('a')}'''", "not documented: ['b']"),
        (f"def f(a):\n    '''{SECTION.format('a, c')}'''", "no such parameter: ['c']"),
        (f"class A:\n    '''{SECTION.format('a')}'''\n    a: int\n    x: int", "['x']"),
    ],
)
def test_the_rule_sees(code, words):
    assert words in mismatch(ast.parse(code).body[0], method=False)


def test_every_room_is_looked_at():
    rooms = {path.parent.name for path, _ in everything_public() if path.is_relative_to(LIBRARY)}
    assert "volume" in rooms


def _is_said_elsewhere(node: ast.ClassDef | Function) -> bool:
    """Whether the getter, the parent class or the Protocol already says it."""
    names = [ast.unparse(name) for name in node.decorator_list]
    said = {"setter", "deleter", "overload", "override"}
    if any(name.split(".")[-1] in said for name in names):
        return True
    return [ast.unparse(line) for line in node.body] == ["..."]
