"""Every script of benchmarks/ can be imported, and none imports itself by way of another."""

from __future__ import annotations

import ast
import graphlib
import sys

from architecture.house import ROOT, python_files, tree

BENCHMARKS = ROOT / "benchmarks"


def modules():
    """Each file of the folder by the name it is imported by."""
    return {
        ".".join(path.relative_to(BENCHMARKS).with_suffix("").parts): path
        for path in python_files(BENCHMARKS)
    }


def imported(path):
    """Names of modules, and of what is taken from them, anywhere in a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_benchmarks_import_no_circle():
    names = modules()
    graph = {name: set(imported(path)) & set(names) for name, path in names.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(names)


def test_no_benchmark_hides_a_package():
    """Run as a script, its folder comes first on the search path."""
    from importlib.metadata import packages_distributions

    installed = {*packages_distributions(), *sys.stdlib_module_names}
    assert not {name.split(".")[0] for name in modules()} & installed
