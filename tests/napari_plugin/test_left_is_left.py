"""The patient's left is where a radiologist looks for it, in pixels, in 2-D and in 3-D."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.layers import Layer

from medseg.volume import LabelMap, LabelTable
from medseg_napari.display import commands, overlays
from medseg_napari.layers import layer_from_labels

PLACES = {"top": (0, -1), "bottom": (0, 1), "left": (1, -1), "right": (1, 1)}


def centre_of(found) -> tuple[float, float]:
    """Centre of the pixels that are found, rows and columns from -1 to 1."""
    rows, columns = np.nonzero(found)
    assert rows.size > 100, "the marker is not on the canvas"
    height, width = found.shape
    return float(rows.mean() / height * 2 - 1), float(columns.mean() / width * 2 - 1)


@pytest.mark.parametrize("orientation", ["LPS", "SRA"])
def test_markers_lie_where_the_letters_say(
    make_napari_viewer, qtbot, orientation, marked, near_color, save_picture
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(800, 600)
    overlays.install(viewer)
    shows = {
        "axial": (commands.axial, {"L": "right", "R": "left", "A": "top", "P": "bottom"}),
        "coronal": (commands.coronal, {"L": "right", "R": "left", "S": "top", "I": "bottom"}),
        "sagittal": (commands.sagittal, {"A": "left", "P": "right", "S": "top", "I": "bottom"}),
        "3-D front": (commands.front_3d, {"L": "right", "R": "left", "S": "top", "I": "bottom"}),
    }
    for letter in "LAS":
        viewer.layers.clear()
        viewer.dims.ndisplay = 2  # napari 0.9.2 fails to add labels in 3-D under a resting mouse
        labels = marked(letter, orientation)
        layer = viewer.add_layer(Layer.create(*layer_from_labels(labels, letter)))
        layer.opacity = 1.0
        for name, (show, edges) in shows.items():
            if letter not in edges:
                continue
            show(viewer)
            qtbot.wait(20)
            axis, sign = PLACES[edges[letter]]
            picture = viewer.screenshot(canvas_only=True, flash=False)
            there = centre_of(near_color(picture, labels.table.labels[0].color, 70))
            assert there[axis] * sign > 0.1, f"{letter} in {name} lies at {there}"
            assert overlays.letters(viewer)[edges[letter]] == letter
    save_picture(viewer, f"front-3d-{orientation}.png")


def test_the_3d_view_is_from_the_front(make_napari_viewer, qtbot, marked, near_color) -> None:
    """What is anterior hides what is posterior: the picture is neither mirrored nor from behind."""
    front, back = marked("A"), marked("P")
    values = front.values + 2 * back.values
    both = LabelMap(values, front.grid, LabelTable.of({1: "front", 2: "back"}))
    viewer = make_napari_viewer(show=True)
    viewer.add_layer(Layer.create(*layer_from_labels(both, "both"))).opacity = 1.0
    commands.front_3d(viewer)
    qtbot.wait(20)
    picture = viewer.screenshot(canvas_only=True, flash=False)
    shares = [near_color(picture, label.color, 70).mean() for label in both.table]
    assert shares[0] > 0.01
    assert shares[1] < shares[0] / 10
