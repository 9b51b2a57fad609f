"""Data on disk says what, never which Python: nothing is unpickled, evaluated or located."""

from __future__ import annotations

import ast

import pytest

from architecture.house import PACKAGES, nodes, place

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "runpy"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
EXPORT = "medseg/model_package/torchscript.py"
"""Writes for others; what it reads is the file it has just written."""
PIPE = ("medseg/training/loader_workers.py", "medseg/training/patch_worker.py")
"""A training hands objects of Python to its own child, as multiprocessing does; never a file."""
BY_LIST = "medseg/model_package/interop/script_weights.py"
"""An unpickler that finds no name but those of its own list; its tests hand it others."""
SCRIPT = "medseg/model_package/foreign_network.py"
"""TorchScript beside its sidecar: instructions of torch's own, which name no Python."""
HARMLESS = {"UnpicklingError"}
METHODS = {  # receiver, method
    ("torch", "load"),
    ("torch", "save"),
    ("jit", "load"),
    ("jit", "save"),
    ("fabric", "load"),
    ("fabric", "save"),
    ("yaml", "load"),
    ("pydoc", "locate"),
}


def runs_what_it_reads(node: ast.AST) -> bool:
    """Whether code could run Python that a file names or holds."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        return (node.module or "").split(".")[0] in MODULES and not names <= HARMLESS
    if not isinstance(node, ast.Call):
        return False
    return _calls_what_it_reads(node)


def _calls_what_it_reads(node: ast.Call) -> bool:
    if any(_is_true(word, "allow_pickle") for word in node.keywords):
        return True
    if any(_is_true(word, "weights_only") for word in node.keywords):
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id in BUILTINS
    return isinstance(node.func, ast.Attribute) and _method(node.func) in METHODS


def _is_true(word: ast.keyword, name: str) -> bool:
    return word.arg == name and isinstance(word.value, ast.Constant) and bool(word.value.value)


def _method(function: ast.Attribute) -> tuple[str, str]:
    receiver = function.value
    name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", "")
    return name.lstrip("_"), function.attr


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "self.fabric.load(path)",
        "torch.save(model, path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_the_rule_sees(code):
    assert any(runs_what_it_reads(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "np.load(path)",
        "re.compile(text)",
        "torch.load(path, weights_only=True)",
        "from pickle import UnpicklingError",
    ],
)
def test_the_rule_lets_pass(code):
    assert not any(runs_what_it_reads(node) for node in ast.walk(ast.parse(code)))


def test_nothing_runs_what_it_reads():
    found = [place(path, node) for path, node in nodes(*PACKAGES) if runs_what_it_reads(node)]
    found = [line for line in found if not line.startswith((EXPORT, BY_LIST, SCRIPT, *PIPE))]
    assert not found, "store safetensors and strict JSON"
