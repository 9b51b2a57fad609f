"""Wheel, right button and keys over a real canvas, as a radiologist moves them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.layers import Labels, Layer

from medseg.volume import Grid, Scan
from medseg_napari.display import setup
from medseg_napari.display.mouse import position_text
from medseg_napari.display.setup import READ_OUT
from medseg_napari.display.shortcuts import KEYS
from medseg_napari.display.window_level import PRESETS, WidthLevel, dragged, width_level
from medseg_napari.display_settings import choose
from medseg_napari.layers import layer_from_scan


def ct_layer(affine=None, modality="CT", window=None) -> Layer:
    """A CT of 20 slices of 40 x 40; 1000 HU wide."""
    affine = np.diag([-2.0, -2.0, 3.0, 1.0]) if affine is None else affine
    voxels = np.random.default_rng(0).integers(-1000, 1000, (1, 40, 40, 20)).astype(np.int16)
    scan = Scan(voxels, Grid((40, 40, 20), affine), modality)
    return Layer.create(*layer_from_scan(scan, "scan", window=window))


@pytest.fixture
def viewer(make_napari_viewer, settings, qtbot):
    shown = make_napari_viewer(show=True)
    shown.window.resize(900, 700)
    setup.install(shown)
    shown.add_layer(ct_layer(window=(-110.0, 190.0)))
    qtbot.wait(50)
    return shown


@pytest.fixture
def canvas(viewer, qapp):
    """The widget of the canvas, which hears the mouse."""
    return next(w for w in qapp.allWidgets() if type(w).__name__ == "CanvasBackendDesktop")


@pytest.fixture
def turn(canvas, qapp):
    """Turns the wheel over the middle of the canvas, as a hand does."""
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent

    def _turn(notches: int, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        middle = QPointF(canvas.rect().center())
        where = QPointF(canvas.mapToGlobal(canvas.rect().center()))
        for _ in range(abs(notches)):
            event = QWheelEvent(
                middle,
                where,
                QPoint(0, 0),
                QPoint(0, 120 if notches > 0 else -120),
                Qt.MouseButton.NoButton,
                modifier,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            )
            qapp.sendEvent(canvas, event)

    return _turn


def test_the_wheel_steps_through_slices_and_ctrl_zooms(viewer, turn, qtbot) -> None:
    from qtpy.QtCore import Qt

    start, zoom = viewer.dims.current_step[0], viewer.scene.camera.zoom
    turn(-3)  # towards the person: to the feet
    assert viewer.dims.current_step[0] == start + 3
    turn(5)
    qtbot.wait(50)
    assert viewer.dims.current_step[0] == start - 2
    assert viewer.scene.camera.zoom == pytest.approx(zoom)
    turn(2, Qt.KeyboardModifier.ControlModifier)
    assert viewer.scene.camera.zoom == pytest.approx(zoom * 1.44)
    assert viewer.dims.current_step[0] == start - 2

    choose("display", "wheel_scrolls", False)
    zoom = viewer.scene.camera.zoom
    turn(1)
    qtbot.waitUntil(lambda: viewer.scene.camera.zoom > zoom, timeout=2000)
    turn(1, Qt.KeyboardModifier.ControlModifier)
    assert viewer.dims.current_step[0] == start - 3


def test_the_right_button_sets_the_window_and_reads_it_out(viewer, canvas, qtbot) -> None:
    from qtpy.QtCore import QPoint, Qt

    layer, zoom = viewer.layers[0], viewer.scene.camera.zoom
    read_out = viewer.canvas.overlays[READ_OUT]
    assert (read_out.text, read_out.visible) == ("W 300  L 40 HU", True)
    start, step = canvas.rect().center(), QPoint(50, -40)
    right = Qt.MouseButton.RightButton
    qtbot.mousePress(canvas, right, pos=start)
    for share in (1, 2, 3):
        qtbot.mouseMove(canvas, start + share * step)
        qtbot.wait(10)
    qtbot.mouseRelease(canvas, right, pos=start + 3 * step)
    expected = dragged(WidthLevel(300, 40), 150, -120)
    assert expected == (600, 160)
    assert width_level(layer.contrast_limits) == pytest.approx(expected, rel=0.02)
    assert read_out.text.startswith("W 60")
    assert viewer.scene.camera.zoom == pytest.approx(zoom)

    place = {"scale": layer.scale, "translate": layer.translate}
    viewer.add_labels(np.zeros((20, 40, 40), np.uint8), **place).mode = "paint"
    before = tuple(layer.contrast_limits)
    qtbot.mousePress(canvas, right, pos=start)
    qtbot.mouseMove(canvas, start + step)
    qtbot.mouseRelease(canvas, right, pos=start + step)
    assert tuple(layer.contrast_limits) == before  # the brush has the right button


def test_keys_choose_windows_and_planes(viewer, canvas, qtbot) -> None:
    from qtpy.QtCore import Qt

    layer, alt = viewer.layers[0], Qt.KeyboardModifier.AltModifier
    for key, preset in zip("12345", PRESETS.values(), strict=True):
        qtbot.keyClick(canvas, key, alt)
        assert tuple(layer.contrast_limits) == preset.limits
    assert viewer.canvas.overlays[READ_OUT].text.endswith("liver")
    qtbot.keyClick(canvas, "0", alt)
    assert tuple(layer.contrast_limits) == (-110, 190)
    for key, order in {"8": (1, 0, 2), "9": (2, 0, 1), "7": (0, 1, 2)}.items():
        qtbot.keyClick(canvas, key, alt)
        assert viewer.dims.order == order
    viewer.layers.clear()
    assert not [one for one in viewer.keymap.values() if one in KEYS.values()]


def test_no_key_is_napari_s_own() -> None:
    """Neither a shortcut of its settings, nor of its menus, nor of the Labels layer."""
    import napari
    from app_model.types import KeyBinding
    from napari._qt._qapp_model.qactions import _file, _view
    from napari.components import ViewerModel
    from napari.settings import get_settings
    from napari.utils.key_bindings import coerce_keybinding

    taken = {key for keys in get_settings().shortcuts.shortcuts.values() for key in keys}
    actions = [*_file.Q_FILE_ACTIONS, *_view.Q_VIEW_ACTIONS]
    taken |= {
        KeyBinding.from_int(rule.primary)
        for action in actions
        for rule in action.keybindings or []
        if rule.primary
    }
    taken |= {*ViewerModel.class_keymap, *Labels.class_keymap, *napari.layers.Image.class_keymap}
    assert coerce_keybinding("Alt-S") in taken  # the comparison sees what menus take
    assert not {coerce_keybinding(key) for key in KEYS} & taken


def test_a_preset_of_ct_is_no_window_of_mr(viewer) -> None:
    from medseg_napari.display.window_level import show_first_window, show_preset

    viewer.layers.clear()
    assert "open one first" in show_preset(viewer, "lung")
    layer = viewer.add_layer(ct_layer(modality="MR"))
    first = tuple(layer.contrast_limits)
    assert "Hounsfield" in show_preset(viewer, "lung")
    assert tuple(layer.contrast_limits) == first
    layer.contrast_limits = (0, 1)
    assert "asks for no window" in show_first_window(viewer)
    assert tuple(layer.contrast_limits) == pytest.approx(first)


def test_the_read_out_is_the_place_in_the_patient(viewer, canvas, qtbot) -> None:
    """Voxel (0, 0, 0) of this scan lies at the origin; so does the middle of its canvas not."""
    assert position_text(viewer, (-57.0, 78.0, 0.0)) == "L 0.0  P 78.0  S 57.0 mm"
    assert position_text(viewer, (500.0, 0.0, 0.0)) == ""
    qtbot.mouseMove(canvas, canvas.rect().center())
    qtbot.waitUntil(lambda: viewer.help.endswith("mm"), timeout=3000)

    angle = np.radians(20)
    turned = np.diag([-2.0, -2.0, 3.0, 1.0])
    turned[1:3, 1:3] = [
        [-2 * np.cos(angle), 3 * np.sin(angle)],
        [2 * np.sin(angle), 3 * np.cos(angle)],
    ]
    viewer.layers.clear()
    layer = viewer.add_layer(ct_layer(affine=turned))
    grid = layer.metadata["medseg"]["grid"]
    x, y, z = grid.to_world((5, 7, 3))  # display index: (19 - 3, 7, 5)
    world = np.array([16, 7, 5]) * layer.scale + layer.translate
    assert (x < 0, y < 0, z > 0) == (True, True, True)
    assert position_text(viewer, world) == f"L {-x:.1f}  P {-y:.1f}  S {z:.1f} mm"


def test_neurological_swaps_sides_in_2d_only_and_the_letters_follow(viewer, save_picture) -> None:
    from medseg_napari.display import commands
    from medseg_napari.display.overlays import letters

    def sides() -> str:
        shown = letters(viewer)
        return shown["left"] + shown["right"]

    commands.switch_convention(viewer)
    seen = {}
    for show in (commands.axial, commands.coronal, commands.sagittal, commands.front_3d):
        show(viewer)
        seen[show.__name__] = sides()
    assert seen == {"axial": "LR", "coronal": "LR", "sagittal": "AP", "front_3d": "RL"}
    assert str(viewer.scene.camera.handedness) == "right"
    commands.axial(viewer)
    save_picture(viewer, "neurological.png")
    choose("display", "convention", "radiological")  # as the Preferences do
    assert sides() == "RL"
    assert viewer.canvas.overlays["medseg_left"].text == "R"
    for name, key in (("letters", "medseg_left"), ("scale_bar", "scale_bar")):
        assert viewer.canvas.overlays[key].visible
        choose("display", name, False)
        assert not viewer.canvas.overlays[key].visible


def test_layers_that_are_not_ours_are_left_to_napari(make_napari_viewer, settings) -> None:
    viewer = make_napari_viewer()
    setup.install(viewer)
    setup.install(viewer)
    viewer.add_image(np.zeros((4, 5, 6)))
    assert not viewer.canvas.overlays[READ_OUT].visible
    assert not [one for one in viewer.keymap.values() if one in KEYS.values()]
    assert sum(type(one).__name__ == "Wheel" for one in viewer.mouse_wheel_callbacks) == 1


def test_zooming_keeps_the_point_under_the_pointer() -> None:
    from napari.components import ViewerModel

    from medseg_napari.display.mouse import zoom_at

    viewer = ViewerModel()
    viewer.add_layer(ct_layer())
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 10, 20), 3.0
    zoom_at(viewer, (5.0, 30.0, 40.0), 2.0)
    assert viewer.scene.camera.zoom == 6.0
    assert tuple(viewer.scene.camera.center)[-2:] == (20, 30)
