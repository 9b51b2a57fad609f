"""Fakes and fixtures of the plugin's tests: no model and no network is needed."""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import medseg_napari
from medseg.model_package import Card, find_package
from medseg.volume import Grid, LabelMap, LabelTable, Scan

if os.environ.get("CI") and importlib.util.find_spec("napari") is None:
    raise pytest.UsageError("napari is not installed, so the plugin would go untested in CI")

SCREENSHOTS = Path(__file__).resolve().parents[2] / "screenshots"
PLUGIN = Path(medseg_napari.__file__).parent
STEPS = {
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}
TABLE = LabelTable.of({1: "anterior", 2: "posterior"})


LEAST_WAIT_MS = 120_000


@pytest.fixture(autouse=True)
def _patient_waits(monkeypatch):
    """A wait ends with what it waits for; its limit says when a busy machine has hung."""
    qtbot = pytest.importorskip("pytestqt.qtbot").QtBot
    for name in ("waitUntil", "waitSignal"):
        monkeypatch.setattr(qtbot, name, _patient(getattr(qtbot, name)))


def _patient(wait):
    @functools.wraps(wait)
    def waiting(*arguments, timeout=0, **options):
        return wait(*arguments, timeout=max(timeout, LEAST_WAIT_MS), **options)

    return waiting


@pytest.fixture(autouse=True, scope="module")
def _imported_for_good():
    """What is imported is no garbage: napari's fixture searches all of it twice in every test."""
    import_module("medseg.inference")
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_autosave(tmp_path, monkeypatch):
    """No test keeps labels among those of the person, or finds theirs."""
    monkeypatch.setenv("MEDSEG_AUTOSAVE_DIR", str(tmp_path / "autosave"))


class HalvesPredictor:
    """Labels the bright voxels: 1 in the anterior half, 2 in the posterior half."""

    def __init__(self, tiles: int = 3, seconds_per_tile: float = 0.0) -> None:
        self.tiles, self.seconds = tiles, seconds_per_tile
        self.scans: list[Scan] = []
        self.options = None

    @property
    def device(self):
        from medseg.runtime.device import choose_device

        return choose_device("cpu")

    def predict(self, scan: Scan, *, progress) -> LabelMap:
        self.scans.append(scan)
        for done in range(self.tiles):
            progress(done, self.tiles, "segmenting")
            time.sleep(self.seconds)
        voxels = scan.voxels[0]
        values = (voxels > np.percentile(voxels, 70)).astype(np.uint8)
        index = np.moveaxis(np.indices(scan.grid.shape), 0, -1)
        anterior = scan.grid.to_world(index)[..., 1]
        values[(values == 1) & (anterior < np.median(anterior))] = 2
        progress(self.tiles, self.tiles, "segmenting")
        return LabelMap(values, scan.grid, TABLE, scan.provenance)

    def run(self, scan: Scan, options, *, progress):
        from medseg.inference import Prediction

        self.options = options
        return Prediction(self.predict(scan, progress=progress))

    def probe(self):
        from medseg.inference import Probe

        return Probe(self.seconds, 1, 1)

    def estimate(self, grid: Grid, options, *, probe):
        from medseg.inference import Estimate

        return Estimate(self.tiles, self.tiles * probe.tile_s, 1, 1)


class BrokenPredictor(HalvesPredictor):
    """Fails as torch does when something is wrong inside the network."""

    def predict(self, scan: Scan, *, progress) -> LabelMap:
        progress(0, 3, "segmenting")
        raise RuntimeError("boom")


@pytest.fixture(autouse=True)
def _registered() -> None:
    """Put the plugin into npe2's manager, whether or not it is installed."""
    npe2 = pytest.importorskip("npe2")
    manager = npe2.PluginManager.instance()
    if "medseg" not in manager:
        manager.register(npe2.PluginManifest.from_file(PLUGIN / "napari.yaml"))


@pytest.fixture
def settings(plugin_settings, npe2pm) -> None:
    """The plugin's page of preferences, fresh and written to a temporary folder."""
    if "medseg" not in npe2pm:
        import npe2

        npe2pm.register(npe2.PluginManifest.from_file(PLUGIN / "napari.yaml"))


@pytest.fixture
def halves() -> type[HalvesPredictor]:
    return HalvesPredictor


@pytest.fixture
def broken() -> type[BrokenPredictor]:
    return BrokenPredictor


@pytest.fixture
def package() -> SimpleNamespace:
    """What the panel shows of a model."""
    manifest = msgspec.structs.replace(
        find_package("hippocampus-mr").manifest,
        name="halves",
        version="1",
        provenance={},
        labels=TABLE,
        card=Card(summary="Halves the bright voxels", licence="CC0"),
        scores={"foreground": 0.5},
    )
    return SimpleNamespace(manifest=manifest, folder=Path("halves"))


@pytest.fixture
def hippocampus(shared_data: Path) -> Path:
    """A real MR scan."""
    return shared_data / "hippocampus" / "images" / "hippocampus_001.nii.gz"


@pytest.fixture
def marked() -> Callable[..., LabelMap]:
    return marked_labels


@pytest.fixture
def near_color() -> Callable[..., np.ndarray]:
    return pixels_near_color


@pytest.fixture
def save_picture() -> Callable[..., np.ndarray]:
    return save_window


def marked_labels(where: str, orientation: str = "LPS", size: int = 40) -> LabelMap:
    """Marks the last quarter towards one of R, L, A, P, S, I; voxels of 2 x 2 x 3 mm."""
    steps = np.stack(
        [np.multiply(STEPS[letter], mm) for letter, mm in zip(orientation, (2, 2, 3), strict=True)]
    )
    shape = (size, size, size // 2)
    affine = np.eye(4)
    affine[:3, :3] = steps.T
    affine[:3, 3] = -steps.T @ ((np.array(shape) - 1) / 2)
    grid = Grid(shape, affine)
    world = grid.to_world(np.moveaxis(np.indices(shape), 0, -1))
    towards = world @ np.array(STEPS[where])
    across = np.abs(world * (1 - np.abs(STEPS[where])))
    inside = (towards > np.percentile(towards, 75)) & (across.max(axis=-1) < 20)
    return LabelMap(inside.astype(np.uint8), grid, LabelTable.of({1: "marker"}))


def pixels_near_color(picture: np.ndarray, color: tuple[int, ...], tolerance: int) -> np.ndarray:
    """Which pixels of a screenshot have about this colour."""
    apart = np.abs(picture[..., :3].astype(int) - np.asarray(color))
    return apart.max(axis=-1) <= tolerance


def save_window(viewer, name: str) -> np.ndarray:
    """Save a picture of the whole window to the screenshots folder, and return it."""
    SCREENSHOTS.mkdir(exist_ok=True)
    return viewer.screenshot(str(SCREENSHOTS / name), canvas_only=False, flash=False)
