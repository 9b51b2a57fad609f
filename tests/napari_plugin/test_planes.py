"""The planes beside the canvas: sides by pixels, one point in all, a picture of all layers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.components import ViewerModel
from napari.layers import Layer

from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg_napari.display import commands, setup
from medseg_napari.display.orthogonal_views import other_planes, picture_of
from medseg_napari.layers import layer_from_labels, layer_from_scan

SIDES = ("top", "bottom", "left", "right")


def side_of(found) -> str:
    """Towards which side of the picture the pixels lie."""
    rows, columns = np.nonzero(found)
    assert rows.size > 10, "the marker is not in the plane"
    height, width = found.shape
    down, right = rows.mean() / height - 0.5, columns.mean() / width - 0.5
    if abs(down) > abs(right):
        return "bottom" if down > 0 else "top"
    return "right" if right > 0 else "left"


def with_layer(*layer_tuples) -> ViewerModel:
    model = ViewerModel()
    setup.install(model)
    for one in layer_tuples:
        model.add_layer(Layer.create(*one))
    return model


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SRA", "AIL"])
def test_markers_lie_where_the_letters_say(marked, near_color, orientation) -> None:
    for letter in "RLAPSI":
        labels = marked(letter, orientation)
        viewer = with_layer(layer_from_labels(labels, letter))
        viewer.layers[0].opacity = 1.0
        seen = 0
        for plane in commands.PLANES:
            picture = picture_of(viewer, plane)
            sides = dict(zip(picture.letters, SIDES, strict=True))
            if letter in sides:
                found = near_color(picture.pixels, labels.table.labels[0].color, 3)
                assert side_of(found) == sides[letter], f"{letter} in {plane}"
                seen += 1
        assert seen == 2


def test_the_planes_are_those_of_a_radiologist(marked) -> None:
    viewer = with_layer(layer_from_labels(marked("L"), "x"))
    shown = {plane: "".join(picture_of(viewer, plane).letters) for plane in commands.PLANES}
    assert shown == {"axial": "APRL", "coronal": "SIRL", "sagittal": "SIAP"}
    assert other_planes(viewer) == ("coronal", "sagittal")
    commands.sagittal(viewer)
    assert other_planes(viewer) == ("axial", "coronal")
    viewer.dims.ndisplay = 3
    assert len(other_planes(viewer)) == 3


def test_neurological_turns_pixels_and_letters_together(marked, near_color, settings) -> None:
    labels = marked("L")
    viewer = with_layer(layer_from_labels(labels, "x"))
    viewer.layers[0].opacity = 1.0
    commands.switch_convention(viewer)
    picture = picture_of(viewer, "coronal")
    assert picture.letters == ("S", "I", "L", "R")
    assert side_of(near_color(picture.pixels, labels.table.labels[0].color, 3)) == "left"
    assert picture_of(viewer, "sagittal").letters == ("S", "I", "A", "P")
    down, right = picture.cross
    back = picture.point_at(down, right)
    assert back == pytest.approx({0: picture.cross_mm[0], 2: picture.cross_mm[1]})


def test_what_a_plane_shows_is_what_the_layers_hold() -> None:
    """Window, an organ half over it, a crop of another extent, and values at their own place."""
    voxels = np.arange(6 * 5 * 4, dtype=np.int16).reshape(1, 6, 5, 4)
    grid = Grid((6, 5, 4), np.diag([-1.0, -2.0, 3.0, 1.0]))
    moved = grid.affine.copy()
    moved[:3, 3] = grid.to_world((2, 1, 1))
    organ = LabelMap(np.ones((2, 2, 2), np.uint8), Grid((2, 2, 2), moved), LabelTable.of({1: "o"}))
    viewer = with_layer(layer_from_scan(Scan(voxels, grid, "MR"), "scan"))
    scan = viewer.layers[0]
    scan.contrast_limits = (0, 119)
    viewer.dims.set_point((0, 1, 2), (-6.0, 4.0, 3.0))  # voxel (3, 2, 2)
    picture = picture_of(viewer, "axial")
    expected = voxels[0, :, :, 2].T / 119 * 255
    np.testing.assert_allclose(picture.pixels[..., 0], expected, atol=1.5)
    assert picture.size_mm == (10, 6)
    assert picture.cross == pytest.approx((0.5, 3.5 / 6))

    labels = viewer.add_layer(Layer.create(*layer_from_labels(organ, "organ")))
    labels.opacity = 0.5
    over = picture_of(viewer, "axial").pixels.astype(float)
    inside = np.zeros((5, 6), bool)
    inside[1:3, 2:4] = True
    np.testing.assert_array_equal(over[~inside], picture.pixels[~inside])
    color = np.array(organ.table.labels[0].color)
    half = (picture.pixels[inside].astype(float) + color) / 2
    np.testing.assert_allclose(over[inside], half, atol=2)
    viewer.dims.set_point(0, 0.0)  # below the crop
    np.testing.assert_array_equal(
        picture_of(viewer, "axial").pixels[..., 0], picture_of(viewer, "axial").pixels[..., 1]
    )
    labels.visible = scan.visible = False
    assert picture_of(viewer, "axial") is None


def test_a_click_goes_there_and_edits_show_at_once(
    make_napari_viewer, settings, qtbot, marked, near_color, save_picture
) -> None:
    from qtpy.QtCore import Qt

    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 900)
    _, panel = viewer.window.add_plugin_dock_widget("medseg", "Planes")
    labels = marked("L")
    layer = viewer.add_layer(Layer.create(*layer_from_labels(labels, "x")))
    layer.opacity = 1.0
    coronal, _ = panel.canvases
    qtbot.waitUntil(lambda: coronal.picture is not None, timeout=5000)
    assert [title.text() for title in panel.titles] == ["Coronal", "Sagittal"]

    area = coronal.area()
    place = area.topLeft() + (area.bottomRight() - area.topLeft()) * 0.25
    qtbot.mouseClick(coronal, Qt.MouseButton.LeftButton, pos=place.toPoint())
    low, high = coronal.picture.low_mm, coronal.picture.high_mm
    there = [viewer.dims.point[axis] for axis in (0, 2)]
    for at, first, last, step in zip(there, low, high, (3.0, 2.0), strict=True):
        assert at == pytest.approx(first + 0.25 * (last - first), abs=step)
    qtbot.waitUntil(lambda: coronal.picture.cross == pytest.approx((0.25, 0.25), abs=0.05))

    def marked_pixels() -> int:
        color = labels.table.labels[0].color
        return int(near_color(coronal.picture.pixels, color, 3).sum())

    before = marked_pixels()
    at = [int(step) for step in viewer.dims.current_step]
    layer.data_setitem((np.arange(20), np.full(20, at[1]), np.full(20, at[2])), 1)
    qtbot.waitUntil(lambda: marked_pixels() > before, timeout=3000)
    layer.undo()
    qtbot.waitUntil(lambda: marked_pixels() == before, timeout=3000)

    picture = save_picture(viewer, "planes-panel.png")
    assert near_color(picture[:, 850:], labels.table.labels[0].color, 10).sum() > 500
    panel.hide()
    commands.coronal(viewer)
    qtbot.wait(50)
    assert panel.titles[0].text() == "Coronal"  # nothing is drawn for nobody
    panel.show()
    qtbot.waitUntil(lambda: panel.titles[0].text() == "Axial", timeout=3000)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: coronal.picture is None, timeout=3000)


def test_the_time_point_that_shows_is_the_one_in_the_planes() -> None:
    """Also where steps of the slider are not those of the layer."""
    grid = Grid((6, 5, 4), np.eye(4))
    voxels = np.arange(3, dtype=np.int16).reshape(3, 1, 1, 1) * np.ones((6, 5, 4), np.int16)
    fast = Scan(np.zeros((9, 6, 5, 4), np.int16), grid, "MR", time_step_s=0.5)
    viewer = with_layer(
        layer_from_scan(fast, "fast"),
        layer_from_scan(Scan(voxels, grid, "MR", time_step_s=2.0), "slow"),
    )
    viewer.layers["slow"].contrast_limits = (0, 2)
    viewer.dims.set_point(0, 2.0)
    assert viewer.dims.current_step[0] == 4
    assert np.unique(picture_of(viewer, "axial").pixels).tolist() == [127]
