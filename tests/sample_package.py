"""A package outside medseg with a part of each kind, built as a wheel and unpacked."""

from __future__ import annotations

import contextlib
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "plugins" / "sample"
METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
DISTRIBUTION, VERSION = METADATA["name"], METADATA["version"]


def part_names(group: str) -> tuple[str, ...]:
    """Names of its entry points, such as those of ``"medseg.networks"``."""
    return tuple(METADATA["entry-points"].get(group, {}))


def install(folder: Path) -> Path:
    """Build the wheel with the package's own build backend, and unpack it in `folder`."""
    from hatchling.build import build_wheel

    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(PROJECT):
        wheel = folder / build_wheel(str(folder))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    wheel.unlink()
    return folder


def lay_distribution(folder: Path, name: str, entry_points: str, version: str = "0.1") -> Path:
    """The metadata of an installed package, without the package."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)
    return folder


@contextlib.contextmanager
def importable(folder: Path):
    """Let Python import from a folder, for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
