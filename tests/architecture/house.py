"""What the rules about the house look at: its files and their syntax trees."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "medseg"
PIPELINES = ROOT / "pipelines" / "medseg_pipelines"
PLUGIN = ROOT / "napari_plugin" / "medseg_napari"
PACKAGES = (LIBRARY, PIPELINES, PLUGIN)


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that git tracks: a log or a scan that a person left here is no part of it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = sorted({ROOT / name for name in listed.stdout.split("\0") if name})
    return tuple(path for path in paths if path.is_file())


def python_files(*folders: Path) -> tuple[Path, ...]:
    """The Python files in some folders, or everywhere."""
    wanted = folders or (ROOT,)
    return tuple(
        path
        for path in files()
        if path.suffix == ".py" and any(path.is_relative_to(folder) for folder in wanted)
    )


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def nodes(*folders: Path) -> Iterator[tuple[Path, ast.AST]]:
    """Every syntax node of some folders, with its file."""
    for path in python_files(*folders):
        for node in ast.walk(tree(path)):
            yield path, node


def place(path: Path, node: ast.AST | int) -> str:
    """``file:line``, as a person (and an editor) reads it."""
    line = node if isinstance(node, int) else getattr(node, "lineno", 1)
    return f"{path.relative_to(ROOT).as_posix()}:{line}"
