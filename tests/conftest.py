"""What every room's tests share: where real scans lie, and whether a window can be opened."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SLOW_SECONDS = 1500
_WINDOW_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "qapp", "qtbot"}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans beside the checkout; the test is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real scans: there is no folder ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _models_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Imported models go to a folder of the tests, not to the person's."""
    os.environ["MEDSEG_MODELS"] = str(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch computes with one thread: more only wait for each other on maps of a few voxels."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sample_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the installed sample package, from which nobody imports yet."""
    from sample_package import install

    return install(tmp_path_factory.mktemp("site") / "packages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests their time, and skip those that need a window where none can be opened.

    Qt would end the whole process there.
    """
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
    if _window_possible() or os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="no display and no Xvfb; scripts/system_packages.sh has it")
    for item in items:
        if _WINDOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(skip)


def _window_possible() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or shutil.which("Xvfb"))
