"""What is imported is declared, and what is declared is permissive."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata

import pytest

from architecture.house import LIBRARY, PIPELINES, PLUGIN, ROOT, nodes, place, python_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OURS = {"medseg", "medseg_pipelines", "medseg_napari"}
COPYLEFT = re.compile(
    r"\b(A|L)?GPL|General Public|Mozilla|\bMPL|\bEPL|non.?commercial", re.IGNORECASE
)


def normal(name: str) -> str:
    """A distribution's name as the packaging rules compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


BASE = {normal(requirement) for requirement in PROJECT["dependencies"]}
EXTRAS = {
    extra: {normal(requirement) for requirement in requirements}
    for extra, requirements in PROJECT["optional-dependencies"].items()
}
NAPARI = EXTRAS["napari"]
ONNX = LIBRARY / "model_package" / "onnx.py"
_FOLDER = LIBRARY / "inference" / "backends"
BACKENDS = {extra: _FOLDER / f"{extra}.py" for extra in ("onnxruntime", "openvino")}
FOREIGN = [
    LIBRARY / "model_package" / "interop" / "decoding.py",
    LIBRARY / "networks" / "adapters" / "onnx_network.py",
]


def imported(*folders):
    """Every absolute import of something that is neither ours nor Python's own."""
    for path, node in nodes(*folders):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in (name.split(".")[0] for name in names):
            if name not in OURS and name not in sys.stdlib_module_names:
                yield place(path, node), name


def undeclared(declared, *folders):
    homes = metadata.packages_distributions()
    return [
        f"{where} {name}"
        for where, name in imported(*folders)
        if not declared & {normal(home) for home in homes.get(name, [name])}
    ]


def test_the_library_and_the_command_line_import_only_what_they_declare():
    journeys = [path for path in PIPELINES.iterdir() if path.stem not in {"cluster", "pacs"}]
    extras = {ONNX, *FOREIGN, *BACKENDS.values()}
    library = [path for path in python_files(LIBRARY) if path not in extras]
    assert not undeclared(BASE, *library, *journeys)


def test_onnx_is_imported_where_its_extra_is_named_and_nowhere_else():
    assert not undeclared(BASE | EXTRAS["export"], ONNX)


@pytest.mark.parametrize("extra", BACKENDS)
def test_a_backend_imports_the_library_of_its_extra(extra):
    assert not undeclared(BASE | EXTRAS[extra], BACKENDS[extra])


def test_models_of_other_programs_need_no_more_than_their_extra_names():
    assert not undeclared(BASE | EXTRAS["models"], *FOREIGN)


@pytest.mark.parametrize("extra", ["cluster", "pacs"])
def test_a_journey_with_an_extra_of_its_own_imports_only_that(extra):
    home = PIPELINES / extra
    assert not undeclared(BASE | EXTRAS[extra], home, home.with_suffix(".py"))


def test_the_plugin_imports_only_what_it_or_napari_declares():
    through_napari = {
        normal(requirement)
        for requirement in metadata.requires("napari") or []
        if "extra" not in requirement
    }
    assert not undeclared(BASE | NAPARI | through_napari, PLUGIN)


def test_only_the_plugin_knows_windows():
    assert not {name for _, name in imported(LIBRARY, PIPELINES)} & {"qtpy", "PySide6", "magicgui"}


@pytest.mark.parametrize("name", sorted(BASE))
def test_every_base_dependency_is_permissive(name):
    about = metadata.metadata(name)
    words = [about.get("License-Expression") or "", (about.get("License") or "").split("\n")[0]]
    words += [row for row in about.get_all("Classifier") or [] if row.startswith("License")]
    text = " | ".join(word for word in words if word)
    assert text or _licence_file(name), f"{name} names no licence"
    assert not COPYLEFT.search(text), text


def _licence_file(name: str) -> bool:
    return any("licen" in str(file).lower() for file in metadata.files(name) or [])


def test_constraints_pin_every_declared_dependency():
    pinned = {
        normal(line)
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    development = {normal(name) for name in PROJECT["optional-dependencies"]["dev"]} - {"medseg"}
    assert not (BASE | development).union(*(EXTRAS[x] for x in EXTRAS if x != "dev")) - pinned
