"""Bad input of the Segment panel: one sentence in the panel, and the work is kept."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
import torch

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.layers import Layer

from medseg.reading import read_scan
from medseg.volume import Grid, Scan
from medseg_napari.inference.run import Runner
from medseg_napari.layers import KEY, layer_from_scan
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.segment import SegmentPanel

GEOMETRY = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def panel(make_napari_viewer, qtbot, package, halves, tmp_path, monkeypatch) -> SegmentPanel:
    """The docked panel with work in a layer, a model, and a machine that has no GPU."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    viewer = make_napari_viewer()
    viewer.add_labels(np.full((4, 5, 6), 3, np.uint8), name="work")
    panel = open_tab(viewer, "Segment")
    qtbot.waitUntil(lambda: panel.form.postprocessing.count() > 2, timeout=60_000)
    panel.runner = Runner(load=lambda _request: halves())
    panel.form.model.offer(package)
    panel.form.model.setCurrentIndex(panel.form.model.count() - 1)
    return panel


def run_on(panel: SegmentPanel, layer: Layer, qtbot) -> str:
    """What the panel says after a run on a layer; the work is as it was."""
    panel.viewer.add_layer(layer)
    panel.form.scans.setCurrentIndex(panel.form.scans.findText(layer.name))
    assert panel.form.scans.layer() is layer
    panel.form.run.click()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=20_000)
    assert (panel.viewer.layers["work"].data == 3).all()
    return panel.form.job.message.text()


def test_a_time_series_is_told_to_be_taken_apart(panel, qtbot) -> None:
    scan = Scan(np.zeros((3, 10, 9, 8), np.float32), Grid((10, 9, 8), GEOMETRY), "MR")
    data, attributes, kind = layer_from_scan(scan, "series")
    attributes["metadata"][KEY]["lead"] = "T"
    said = run_on(panel, Layer.create(data, attributes, kind), qtbot)
    assert "3 time points" in said
    assert len(panel.viewer.layers) == 2


@pytest.mark.parametrize("rgb", [False, True])
def test_a_picture_of_no_size_says_so_and_gets_labels_without_mm(panel, qtbot, tmp_path, rgb):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(pixels if rgb else pixels[..., 0], isVector=rgb)
    SimpleITK.WriteImage(image, str(tmp_path / "cells.png"))
    picture = Layer.create(*layer_from_scan(read_scan(tmp_path / "cells.png"), "cells"))
    said = run_on(panel, picture, qtbot)
    assert said.startswith("done in")
    assert "no size in mm" in picture.name
    found = panel.viewer.layers[-1]
    assert found.data.shape[-2:] == (20, 30)
    assert {str(unit) for unit in found.units} == {"pixel"}


def test_no_gpu_is_said_and_the_run_goes_on_the_cpu(panel, qtbot) -> None:
    assert "no GPU found" in panel.form.device.currentText()
    voxels = np.random.default_rng(0).normal(size=(1, 10, 9, 8)).astype(np.float32)
    scan = Scan(voxels, Grid((10, 9, 8), GEOMETRY), "MR")
    said = run_on(panel, Layer.create(*layer_from_scan(scan, "scan")), qtbot)
    assert said.startswith("done in")
    assert len(panel.viewer.layers) == 3
