"""Corrections without a window: from the menus, and where there is nothing to correct."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Image, Labels

from medseg.errors import InputError, LabelError
from medseg_napari.display.navigation import stepped_axis
from medseg_napari.editing import commands, label_tables
from medseg_napari.editing.operations import TOOLS, Correction, put
from medseg_napari.editing.targets import (
    ToolOptions,
    image_under,
    target_of,
)
from medseg_napari.layers import KEY, labels_from_layer


@pytest.fixture
def viewer() -> ViewerModel:
    """A scan with a bright ball and two strokes of it, in napari's own layers."""
    viewer = ViewerModel()
    i, p, el = np.ogrid[:15, :40, :40]
    away = np.sqrt((3.0 * (i - 7)) ** 2 + (p - 20) ** 2 + (el - 20) ** 2)
    scan = np.where(away < 15, 100, 0).astype(np.int16)
    drawn = np.zeros(scan.shape, np.uint8)
    for row in (4, 7, 10):
        drawn[row] = (scan[row] > 50) * 2
    viewer.add_layer(Image(scan, scale=(3, 1, 1)))
    layer = viewer.add_layer(Labels(drawn, scale=(3, 1, 1)))
    label_tables.adopt_layer(layer, viewer.layers, [2])
    layer.selected_label = 2
    return viewer


@pytest.mark.parametrize("name", ["fill_between", "grow", "smooth", "fill_holes", "keep_largest"])
def test_a_command_is_one_step_of_undo(viewer, name) -> None:
    layer = viewer.layers[1]
    if name == "smooth":
        layer.data[7, 20, 35:39] = 2  # a thorn
    before = np.array(layer.data)
    getattr(commands, name)(viewer)
    after = np.array(layer.data)
    truth = viewer.layers[0].data > 50
    if name == "grow":
        assert np.array_equal(after == 2, truth)
    if name == "fill_between":
        assert (after[5:10][truth[5:10]] == 2).mean() > 0.9
    layer.undo()
    assert np.array_equal(layer.data, before)
    assert (name in ("fill_between", "grow", "smooth", "keep_largest")) == bool(
        (after != before).any()
    )


def test_a_split_names_the_new_organ(viewer) -> None:
    commands.split_pieces(viewer)
    layer = viewer.layers[1]
    assert label_tables.table_of(layer).names == ("label 2 2", "label 2")
    assert set(np.unique(layer.data)) == {0, 1, 2}
    labels = labels_from_layer(*layer.as_layer_data_tuple()[:2])
    assert labels.table == label_tables.table_of(layer)


def test_tools_follow_the_plane_and_the_scan_below(viewer) -> None:
    layer = viewer.layers[1]
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        viewer.dims.order = order
        assert stepped_axis(viewer.dims) == order[0]
        assert target_of(layer, viewer.layers, viewer.dims).axis == order[0]
    assert image_under(layer, viewer.layers) is viewer.layers[0]
    viewer.layers[0].translate = (1, 0, 0)
    assert image_under(layer, viewer.layers) is None
    target = target_of(layer, viewer.layers, viewer.dims)
    with pytest.raises(InputError, match="no scan lies under"):
        TOOLS["Grow"](target, ToolOptions())


def test_without_labels_a_sentence_says_what_to_do(viewer) -> None:
    assert "open or draw labels" in commands.correct(ViewerModel(), "Smooth")
    viewer.layers[1].selected_label = 0
    viewer.layers.selection.active = viewer.layers[1]
    assert "choose an organ" in commands.correct(viewer, "Smooth")
    label_tables.set_locked(viewer.layers[1], 2, locked=True)
    viewer.layers[1].selected_label = 2
    assert "label 2 is locked" in commands.correct(viewer, "Grow")


def test_an_organ_is_removed_with_its_voxels_and_undo_brings_them_back(viewer) -> None:
    layer = viewer.layers[1]
    before = np.array(layer.data)
    assert label_tables.remove_label(layer, 2) == (before == 2).sum()
    assert not layer.data.any()
    assert label_tables.table_of(layer).labels == ()
    layer.undo()
    assert np.array_equal(layer.data, before)


def test_a_layer_has_room_for_as_many_labels_as_its_type() -> None:
    layer = Labels(np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(LabelError, match="at most 255"):
        label_tables.free_value(layer, range(1, 256))
    assert label_tables.free_value(layer, [1, 2, 4]) == 3
    label_tables.adopt_layer(layer, [], [4])
    assert sorted(layer.metadata[KEY]["grid"].shape) == [2, 3, 4]
    assert label_tables.table_of(layer).names == ("label 4",)


@pytest.mark.parametrize("name", ["Smooth", "Split pieces"])
def test_what_was_painted_meanwhile_stays(viewer, name) -> None:
    layer = viewer.layers[1]
    target = target_of(layer, viewer.layers, viewer.dims).snapshot()
    found = TOOLS[name](target, ToolOptions(smooth_mm=4, over_labels=True))
    would = np.array(layer.data)
    would[found.edit.where] = found.edit.values
    place = tuple(int(n) for n in np.argwhere(would != layer.data)[0])
    layer.data_setitem(tuple(np.array([n]) for n in place), 9)
    painted = np.array(layer.data)
    assert "1 that you painted or locked meanwhile stay" in put(target, found)
    would[place] = 9
    assert np.array_equal(layer.data, would)
    layer.undo()
    assert np.array_equal(layer.data, painted)


def test_a_tool_on_a_small_map_works_without_a_copy(viewer, monkeypatch) -> None:
    layer, shared = viewer.layers[1], []

    def tool(target, _options) -> Correction:
        shared.append(np.shares_memory(target.values, layer.data))
        return Correction(None, "nothing")

    monkeypatch.setitem(TOOLS, "Fill holes", tool)
    viewer.layers.selection.active = layer
    layer.selected_label = 2
    commands.correct(viewer, "Fill holes")
    assert shared == [True]
