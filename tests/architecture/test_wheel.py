"""The wheel holds the three packages, all they need at run time, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import PurePosixPath

import pytest

from architecture.house import PACKAGES, ROOT, files

OURS = {"medseg", "medseg_pipelines", "medseg_napari"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel, opened; about two seconds."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("medseg-*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def about(wheel, name):
    (member,) = [member for member in wheel.namelist() if member.endswith(f".dist-info/{name}")]
    return wheel.read(member).decode()


def test_the_top_level_is_exactly_ours(wheel):
    top = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == OURS


def test_the_licence_travels(wheel):
    assert "Apache License" in about(wheel, "licenses/LICENSE")
    assert message_from_string(about(wheel, "METADATA"))["License-Expression"] == "Apache-2.0"


def test_the_doors_are_announced(wheel):
    entries = about(wheel, "entry_points.txt")
    assert "medseg = medseg_pipelines.cli:main" in entries
    assert "medseg = medseg_napari:napari.yaml" in entries


def test_every_file_of_the_packages_travels(wheel):
    kept = {
        path.relative_to(package.parent).as_posix()
        for package in PACKAGES
        for path in files()
        if path.is_relative_to(package)
    }
    assert not kept - set(wheel.namelist())
    assert {"medseg/py.typed", "medseg_napari/napari.yaml"} <= kept


def test_the_wheel_is_small_enough_to_carry(wheel):
    assert sum(info.compress_size for info in wheel.infolist()) < 20e6


def test_medseg_imports_from_the_wheel_alone(wheel):
    code = (
        f"import sys; sys.path.insert(0, {wheel.filename!r}); import medseg; print(medseg.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith(wheel.filename), done.stdout + done.stderr
