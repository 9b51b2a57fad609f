"""The crosshair on napari's canvas: at the linked point by pixels, and no layer of its own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.layers import Layer

from medseg.volume import Grid, Scan
from medseg_napari.display import commands
from medseg_napari.display.crosshair import ACROSS, DOWN
from medseg_napari.display_settings import choose
from medseg_napari.layers import layer_from_scan

POINT = {0: 10.5, 1: -13.0, 2: 15.0}
"""World coordinates of one bright voxel, away from the middle and from every diagonal."""


def dotted_scan() -> Scan:
    """Dark, with a dot of 3 x 3 x 3 voxels around `POINT`."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = -np.array([39.0, 39.0, 28.5])
    grid = Grid((40, 40, 20), affine)
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    target = -np.array([POINT[2], POINT[1], POINT[0]])  # world here is R, A, S
    near = (np.abs(world - target) / grid.spacing_mm).max(axis=-1) < 1.5
    return Scan(np.where(near, 1000, 0).astype(np.int16)[None], grid, "MR")


def cross_and_dot(viewer) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the crosshair's lines, and of the middle of the dot, in pixels."""
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    lit = (picture.min(axis=-1) > 150) & (np.ptp(picture, axis=-1) < 30)
    blue = picture[..., 2] - picture[..., 0] > 60
    rows, columns = blue.sum(axis=1), blue.sum(axis=0)
    assert rows.max() > 60, "no line across"
    assert columns.max() > 60, "no line down"
    cross = np.array([np.flatnonzero(line > 0.7 * line.max()).mean() for line in (rows, columns)])
    around = np.argwhere(lit)
    near = around[np.abs(around - cross).max(axis=1) < 60]
    return cross, (near.min(axis=0) + near.max(axis=0)) / 2


def blue_pixels(viewer) -> int:
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    return int((picture[..., 2] - picture[..., 0] > 60).sum())


@pytest.fixture
def opened(make_napari_viewer, settings, qtbot):
    """A viewer with the Planes panel and the dotted scan, its sliders at the dot."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 900)
    _, panel = viewer.window.add_plugin_dock_widget("medseg", "Planes")
    viewer.add_layer(Layer.create(*layer_from_scan(dotted_scan(), "dot")))
    viewer.layers[0].contrast_limits = (0, 1000)
    viewer.dims.set_point((0, 1, 2), tuple(POINT.values()))
    qtbot.waitUntil(lambda: panel.canvases[0].picture is not None, timeout=5000)
    return viewer, panel


@pytest.mark.parametrize("plane", list(commands.PLANES))
def test_the_lines_cross_at_the_point_whatever_is_shown(opened, qtbot, plane, save_picture):
    viewer, _ = opened
    commands.show_plane(viewer, plane)
    qtbot.wait(50)
    for convention in ("radiological", "neurological"):
        choose("display", "convention", convention)
        qtbot.wait(20)
        for zoom, shift in ((1.0, 0.0), (2.3, 7.0)):
            commands.show_plane(viewer, plane)
            if shift:
                row, column = (POINT[axis] for axis in viewer.dims.order[-2:])
                viewer.scene.camera.zoom *= zoom
                viewer.scene.camera.center = (0, row + shift, column - shift)
            qtbot.wait(20)
            cross, dot = cross_and_dot(viewer)
            np.testing.assert_allclose(cross, dot, atol=2.5, err_msg=f"{convention} x{zoom}")
    save_picture(viewer, f"crosshair-{plane}.png")


def test_it_is_no_layer_and_comes_and_goes_with_the_panel(opened, qtbot):
    viewer, panel = opened
    assert [layer.name for layer in viewer.layers] == ["dot"]
    shown = viewer.canvas.overlays
    assert shown[DOWN].visible
    assert shown[ACROSS].visible
    assert blue_pixels(viewer) > 300
    choose("display", "crosshair", False)
    assert blue_pixels(viewer) == 0
    choose("display", "crosshair", True)
    assert blue_pixels(viewer) > 300
    viewer.dims.ndisplay = 3
    assert blue_pixels(viewer) == 0
    viewer.dims.ndisplay = 2
    panel.hide()
    assert blue_pixels(viewer) == 0
    panel.show()
    assert blue_pixels(viewer) > 300
    viewer.layers.clear()
    assert not shown[DOWN].visible


def test_shift_click_on_the_canvas_brings_it_under_the_pointer(opened, qtbot):
    from qtpy.QtCore import QPoint, Qt

    viewer, _ = opened
    canvas = viewer.window._qt_viewer.canvas.native
    place = QPoint(canvas.width() // 2 + 55, canvas.height() // 2 - 40)
    shift = Qt.KeyboardModifier.ShiftModifier
    qtbot.mouseMove(canvas, place)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, shift, place)
    (_, column), _ = viewer.canvas.overlays[DOWN].position
    (row, _), _ = viewer.canvas.overlays[ACROSS].position
    voxel = viewer.scene.camera.zoom * 2.0  # the sliders stand on whole voxels
    assert (column, row) == pytest.approx((place.x(), place.y()), abs=voxel / 2 + 1)
