"""A room imports only from below, is named for what happens in it, and opens quickly."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from architecture.house import LIBRARY, PACKAGES, PIPELINES, ROOT, files

VAGUE = {"utils", "util", "common", "core", "helpers", "helper", "misc", "tools", "lib", "shared"}
MOST_MODULES = 40
HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "monai",
    "nibabel",
    "pydicom",
    "SimpleITK",
    "highdicom",
    "matplotlib",
    "napari",
    "qtpy",
    "lightning_fabric",
)


def python(code: str) -> str:
    """What a fresh interpreter, which finds the packages in the checkout, prints."""
    where = os.pathsep.join(str(package.parent) for package in PACKAGES)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": where},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_room_looks_only_down():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-logo",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_room_has_a_vague_name():
    vague = [
        path.relative_to(ROOT).as_posix()
        for path in files()
        if VAGUE & set(path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert not vague, "name rooms and files for what happens there"


def test_the_door_folders_are_not_packages():
    for package in PACKAGES[1:]:
        assert not (package.parent / "__init__.py").exists()


def test_importing_medseg_imports_nothing_heavy():
    code = f"import sys, medseg; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code) == "[]"


def test_importing_medseg_imports_next_to_nothing():
    """A tenth of a second is about 300 modules of the standard library; it takes far fewer."""
    code = (
        "import sys; before = set(sys.modules); import medseg;"
        "print(*sorted(set(sys.modules) - before))"
    )
    imported = python(code).split()
    assert "medseg" in imported
    assert len(imported) < MOST_MODULES, imported


@pytest.mark.skipif(not (PIPELINES / "cli.py").exists(), reason="there is no command line yet")
def test_the_help_of_the_command_line_needs_no_torch():
    code = (
        "import sys; from click.testing import CliRunner; from medseg_pipelines.cli import medseg;"
        "done = CliRunner().invoke(medseg, ['--help']); assert done.exit_code == 0, done.output;"
        "print([name for name in ('torch', 'monai', 'SimpleITK') if name in sys.modules])"
    )
    assert python(code) == "[]"


def test_the_library_is_typed():
    assert (LIBRARY / "py.typed").exists()
