"""Measures of the source: lines, lengths of functions, imports, and names nobody would guess."""

from __future__ import annotations

import ast
import functools
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from architecture.house import PACKAGES, ROOT, place, python_files, tree

BENCHMARKS = ROOT / "benchmarks"
PRIVATE_WORDS = frozenset(
    {
        *("accuse", "bury", "correcting", "courier", "crew", "doubtful", "furniture", "gathered"),
        *("guilty", "hands", "harmless", "heard", "homeless", "insist", "keeping", "kit"),
        *("likeness", "modelpack", "nouns", "offered", "patience", "peek", "preparing", "refining"),
        *("revive", "sendable", "settlement", "shelter", "strangers", "suspicion", "telling"),
        *("told", "usual", "wishes"),
    }
)
"""No part of a function's, class's, module's or attribute's name: words of no field but our own."""
LOCAL_WORDS = frozenset({"chosen", "found", "known", "one", "place", "told", "words"})
"""No name of a variable or parameter: a noun says more."""
FLOORS = (
    ("medseg_pipelines", "medseg_napari"),
    ("medseg.workflows",),
    ("medseg.training",),
    ("medseg.interactive",),
    ("medseg.inference",),
    ("medseg.model_package", "medseg.editing"),
    (
        "medseg.preprocessing",
        "medseg.augmentation",
        "medseg.networks",
        "medseg.losses",
        "medseg.postprocessing",
    ),
    ("medseg.planning",),
    ("medseg.discovery",),
    ("medseg.reading", "medseg.writing", "medseg.metrics", "medseg.phantoms"),
    ("medseg.volume", "medseg.runtime"),
    ("medseg.errors", "medseg._version"),
)


def module_of(path: Path) -> str:
    """Dotted name of a source file: ``medseg.volume.grid``; of benchmarks ``tasks.datasets``."""
    base = next(
        (package.parent for package in PACKAGES if path.is_relative_to(package)), BENCHMARKS
    )
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def modules(*folders: Path) -> dict[str, Path]:
    return {module_of(path): path for path in python_files(*folders)}


def lines_by_package() -> dict[str, int]:
    """Lines of Python of each package of the library, each folder of the plugin and pipelines."""
    lines: Counter[str] = Counter()
    for path in python_files(*PACKAGES):
        parts = module_of(path.parent / "__init__.py").split(".")
        lines[".".join(parts[:2])] += len(path.read_text("utf-8").splitlines())
    return dict(sorted(lines.items()))


def function_lengths() -> list[int]:
    """Lines of each function from ``def`` to its end, its docstring not counted."""
    return sorted(
        node.end_lineno - node.lineno + 1 - _docstring_lines(node)
        for path in python_files(*PACKAGES)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    return first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0


def imports(*folders: Path, typing: bool = False) -> Iterator[tuple[str, str, str]]:
    """Importing module, imported module and place, inside functions too.

    Parameters
    ----------
    *folders : Path
        Whose files are looked at.
    typing : bool, default False
        Whether imports for type checkers count.
    """
    there = modules(*folders)
    for module, path in there.items():
        skipped = set() if typing else _for_typing(tree(path))
        for node in ast.walk(tree(path)):
            if node in skipped:
                continue
            for target in _targets(node, there):
                if target != module:
                    yield module, target, place(path, node)


def _for_typing(root: ast.Module) -> set[ast.AST]:
    return {
        child
        for node in ast.walk(root)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }


def _targets(node: ast.AST, there: dict[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name in there]
    if not isinstance(node, ast.ImportFrom) or not node.module:
        return []
    below = [f"{node.module}.{alias.name}" for alias in node.names]
    return [
        name if name in there else node.module
        for name in below
        if node.module in there or name in there
    ]


def circles(*folders: Path) -> list[list[str]]:
    """Groups of modules that import one another, directly or through others."""
    names = sorted(modules(*folders))
    number = {name: index for index, name in enumerate(names)}
    edges = {(number[a], number[b]) for a, b, _ in imports(*folders) if not _is_own_package(a, b)}
    rows, columns = np.array(sorted(edges)).T if edges else np.empty((2, 0), int)
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    _, group = connected_components(graph, connection="strong")
    members = [[names[i] for i in np.flatnonzero(group == label)] for label in np.unique(group)]
    return [group for group in members if len(group) > 1]


def _is_own_package(module: str, target: str) -> bool:
    """Whether `module` lies in the package `target`, whose ``__init__`` only re-exports it."""
    return module.startswith(f"{target}.")


def upward_imports() -> list[str]:
    """Imports of a package from a floor above its own."""
    level = {name: height for height, names in enumerate(FLOORS) for name in names}

    def floor(module: str) -> int | None:
        parts = module.split(".")
        return level.get(".".join(parts[:2]), level.get(parts[0]))

    upward = []
    for module, target, where in imports(*PACKAGES, typing=True):
        mine, theirs = floor(module), floor(target)
        if mine is not None and theirs is not None and theirs < mine:
            upward.append(f"{where} {target}")
    return upward


def private_imports() -> list[str]:
    """Imports of a ``_private`` module or name of a package by a module outside of it."""
    foreign = []
    for path in python_files(*PACKAGES):
        module = module_of(path)
        for node in ast.walk(tree(path)):
            for name in _imported_names(node):
                owner = owner_of_private(name)
                if owner and not f"{module}.".startswith(f"{owner}."):
                    foreign.append(f"{place(path, node)} {name}")
    return foreign


def _imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def owner_of_private(name: str) -> str:
    """The package of ours that a private part of `name` belongs to; empty when there is none."""
    parts = name.split(".")
    if parts[0] not in {package.name for package in PACKAGES}:
        return ""
    private = [i for i, part in enumerate(parts) if re.match(r"_[^_]", part)]
    return ".".join(parts[: private[0]]) if private else ""


def banned_names() -> list[str]:
    """Names of modules, classes, functions, attributes and variables that only we would use."""
    wrong = []
    for path in python_files(*PACKAGES):
        if _parts(path.stem) & PRIVATE_WORDS:
            wrong.append(f"{place(path, 1)} {path.stem}")
        for node in ast.walk(tree(path)):
            wrong += [f"{place(path, node)} {name}" for name in bound(node) if is_banned(name)]
    return wrong


def bound(node: ast.AST) -> Iterable[str]:
    """The names that a node binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return [node.attr]
    return []


def is_banned(name: str) -> bool:
    return name.lstrip("_") in LOCAL_WORDS or bool(_parts(name) & PRIVATE_WORDS)


def _parts(name: str) -> set[str]:
    """Words of a name in snake or camel case, in small letters."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return set(snake.split("_"))


def summary() -> dict[str, float]:
    """The figures of the whole house."""
    lengths = function_lengths()
    return {
        "functions": len(lengths),
        "median lines": statistics.median(lengths),
        "90 % have at most": lengths[int(0.9 * len(lengths))],
        "longest": lengths[-1],
        "circles": len(circles(*PACKAGES)) + len(circles(BENCHMARKS)),
        "upward imports": len(upward_imports()),
        "private imports of another package": len(private_imports()),
        "names on the banned list": len(banned_names()),
    }
