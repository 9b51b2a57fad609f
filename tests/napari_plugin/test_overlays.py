"""Orientation letters and the guard against mirroring, on the viewer's model alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Layer

from medseg_napari.display import commands, overlays
from medseg_napari.layers import layer_from_labels


@pytest.fixture
def viewer(marked) -> ViewerModel:
    model = ViewerModel()
    overlays.install(model)
    model.add_layer(Layer.create(*layer_from_labels(marked("L"), "labels")))
    return model


def edges(model: ViewerModel) -> str:
    """Top, left, right, bottom as they are shown."""
    shown = (model.canvas.overlays[f"medseg_{edge}"] for edge in ("top", "left", "right", "bottom"))
    return "".join(overlay.text if overlay.visible else "-" for overlay in shown)


@pytest.mark.parametrize(
    ("plane", "expected"), [("axial", "ARLP"), ("coronal", "SRLI"), ("sagittal", "SAPI")]
)
def test_letters_of_the_three_planes(viewer, plane: str, expected: str) -> None:
    commands.show_plane(viewer, plane)
    assert edges(viewer) == expected


def test_letters_follow_the_order_of_the_axes(viewer) -> None:
    assert edges(viewer) == "ARLP"
    viewer.dims.order = (0, 2, 1)
    assert edges(viewer) == "RAPL"


def test_letters_follow_a_flipped_camera(viewer) -> None:
    viewer.scene.camera.orientation2d = ("down", "left")
    assert edges(viewer) == "ALRP"


def test_letters_in_3d_follow_the_camera(viewer) -> None:
    commands.front_3d(viewer)
    assert edges(viewer) == "SRLI"
    viewer.scene.camera.set_view_direction((0, -1, 0), (-1, 0, 0))
    assert edges(viewer) == "SLRI"
    viewer.scene.camera.set_view_direction((1, 1, 1), (-1, 0, 0))
    assert "-" in edges(viewer)


def test_letters_with_a_channel_axis(viewer) -> None:
    channels = viewer.add_image(np.zeros((2, 4, 4, 4)))
    assert edges(viewer) == "----", "nobody knows where its left is"
    channels.visible = False
    assert edges(viewer) == "ARLP"
    commands.coronal(viewer)
    assert viewer.dims.order == (0, 2, 1, 3)
    assert edges(viewer) == "SRLI"


def test_no_letters_without_a_layer_of_ours(viewer) -> None:
    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 4, 4)))
    assert edges(viewer) == "----"


def test_3d_from_the_coronal_plane_is_not_left_mirrored(viewer) -> None:
    commands.coronal(viewer)
    viewer.dims.ndisplay = 3
    assert viewer.dims.order == (0, 1, 2)


def test_installing_twice_changes_nothing(viewer) -> None:
    before = len(viewer.canvas.overlays)
    overlays.install(viewer)
    assert len(viewer.canvas.overlays) == before
