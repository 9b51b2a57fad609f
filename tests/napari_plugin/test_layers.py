"""Where voxels come to lie in napari, and that they come back bit for bit. No Qt is needed."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

pytest.importorskip("napari")

from medseg.errors import GeometryError
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.conventions import IPL, Reorientation, ipl_placement
from medseg_napari.layers import (
    KEY,
    foreign_grid,
    labels_from_layer,
    layer_from_labels,
    layer_from_scan,
    scan_from_layer,
    source_of,
)

ALL_48 = ["".join(p) for pair in permutations(["RL", "AP", "SI"]) for p in product(*pair)]
STEPS = {
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}
SHAPE, SPACING = (5, 7, 6), (0.7, 1.5, 3.0)


def grid_of(orientation: str, centre=(11.0, -23.0, 37.0)) -> Grid:
    affine = np.eye(4)
    for axis, letter in enumerate(orientation):
        affine[:3, axis] = np.array(STEPS[letter]) * SPACING[axis]
    affine[:3, 3] = centre
    return Grid(SHAPE, affine)


def oblique_grid(degrees: float = 12.0) -> Grid:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Grid(SHAPE, turn @ grid_of("LSA").affine)


def random_scan(grid: Grid, dtype=np.int16, channels: int = 1) -> Scan:
    rng = np.random.default_rng(1)
    voxels = rng.integers(-1000, 1000, (channels, *grid.shape)).astype(dtype)
    provenance = Provenance("dicom", series_uid="1.2.3", instance_uids=("a", "b"))
    return Scan(voxels, grid, "MR", provenance)


def random_labels(grid: Grid) -> LabelMap:
    values = np.random.default_rng(2).integers(0, 3, grid.shape).astype(np.uint8)
    table = LabelTable.of({1: "anterior", 2: "posterior"})
    return LabelMap(values, grid, table, Provenance(series_uid="1.2.3"))


def napari_world(index, attributes) -> np.ndarray:
    scale, translate = (np.asarray(attributes[key])[-3:] for key in ("scale", "translate"))
    return np.asarray(index) * scale + translate


@pytest.mark.parametrize("orientation", ALL_48)
def test_every_voxel_lies_at_its_own_millimetres(orientation: str) -> None:
    scan = random_scan(grid_of(orientation))
    data, attributes, kind = layer_from_scan(scan, "x")
    assert kind == "image"
    assert min(attributes["scale"]) > 0
    assert not {"affine", "rotate", "shear"} & attributes.keys()
    values, counts = np.unique(scan.voxels, return_counts=True)
    for value in values[counts == 1][:20]:
        source = np.argwhere(scan.voxels[0] == value)[0]
        shown = np.argwhere(data == value)[0]
        x, y, z = scan.grid.to_world(source)  # RAS+
        np.testing.assert_allclose(napari_world(shown, attributes), (-z, -y, -x), atol=1e-9)


@pytest.mark.parametrize("grid", [*map(grid_of, ALL_48), oblique_grid()])
def test_scan_and_labels_come_back_bit_for_bit(grid: Grid) -> None:
    scan, labels = random_scan(grid), random_labels(grid)
    scan_back = scan_from_layer(*layer_from_scan(scan, "x")[:2])
    labels_back = labels_from_layer(*layer_from_labels(labels, "x")[:2])
    np.testing.assert_array_equal(scan_back.voxels, scan.voxels)
    np.testing.assert_array_equal(labels_back.values, labels.values)
    for back in (scan_back, labels_back):
        assert back.grid.affine.tobytes() == grid.affine.tobytes()
        assert back.provenance.series_uid == "1.2.3"
    assert scan_back.modality == "MR"
    assert labels_back.table == labels.table
    assert min(scan_back.voxels.strides) >= 0  # torch takes no negative strides


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SRP", "AIL"])
def test_a_crop_lies_over_the_full_scan(orientation: str) -> None:
    full = random_scan(grid_of(orientation))
    moved = full.grid.affine.copy()
    moved[:3, 3] = full.grid.to_world((1, 2, 3))
    crop = Scan(full.voxels[:, 1:4, 2:6, 3:], Grid((3, 4, 3), moved), "MR")
    (full_data, full_attributes, _), (data, attributes, _) = (
        layer_from_scan(full, "full"),
        layer_from_scan(crop, "crop"),
    )
    for index in np.ndindex(data.shape):
        world = napari_world(index, attributes)
        there = (world - full_attributes["translate"]) / full_attributes["scale"]
        assert full_data[tuple(np.round(there).astype(int))] == data[index]
        np.testing.assert_allclose(there, np.round(there), atol=1e-9)


def test_oblique_scans_say_so_and_keep_spacing_and_first_voxel() -> None:
    grid = oblique_grid(12.0)
    _, attributes, _ = layer_from_scan(random_scan(grid), "head")
    assert attributes["name"] == "head (oblique 12°)"
    assert attributes["metadata"][KEY]["obliquity_degrees"] == pytest.approx(12.0)
    assert sorted(attributes["scale"]) == pytest.approx(sorted(SPACING))


def test_units_and_axis_labels() -> None:
    _, attributes, _ = layer_from_scan(random_scan(grid_of("LPS")), "x")
    assert attributes["units"] == ("mm", "mm", "mm")
    assert attributes["axis_labels"] == ("I", "P", "L")


def test_channels_lead() -> None:
    scan = random_scan(grid_of("SRP"), channels=2)
    data, attributes, _ = layer_from_scan(scan, "x")
    assert data.shape[0] == 2
    assert attributes["axis_labels"] == ("C", "I", "P", "L")
    np.testing.assert_array_equal(scan_from_layer(data, attributes).voxels, scan.voxels)


def test_names_colours_and_volumes_of_labels() -> None:
    labels = random_labels(grid_of("LPS"))
    _, attributes, kind = layer_from_labels(labels, "x")
    features = attributes["features"]
    assert kind == "labels"
    assert list(features["index"]) == [0, 1, 2]
    assert list(features["name"]) == ["background", "anterior", "posterior"]
    expected = (labels.values == 2).sum() * 0.7 * 1.5 * 3.0 / 1000
    assert features["volume_ml"][2] == pytest.approx(expected, abs=5e-4)
    shown = attributes["colormap"].map(np.array([0, 1, 9]))
    assert shown[0][3] == 0
    np.testing.assert_allclose(shown[1][:3] * 255, labels.table.labels[0].color, atol=1)
    assert shown[2][3] == 1  # painted, not named: never invisible


def test_values_painted_without_a_name_get_one() -> None:
    data, attributes, _ = layer_from_labels(random_labels(grid_of("SAL")), "x")
    data[0, 0, 0] = 7
    back = labels_from_layer(data, attributes)
    assert back.table.names == ("anterior", "posterior", "label 7")
    assert (back.values == 7).sum() == 1


def test_a_layer_that_was_moved_is_no_longer_trusted() -> None:
    data, attributes, _ = layer_from_scan(random_scan(grid_of("LPS")), "x")
    assert source_of(data, attributes) is not None
    moved = {**attributes, "translate": np.add(attributes["translate"], 1.0)}
    assert source_of(data, moved) is None
    assert source_of(data[1:], attributes) is None
    assert source_of(data, {"scale": (1, 1, 1), "translate": (0, 0, 0), "metadata": {}}) is None


def test_foreign_layers_are_taken_as_ipl_millimetres() -> None:
    attributes = {"scale": (5.0, 2.0, 3.0), "translate": (10.0, 20.0, 30.0), "name": "other"}
    data = np.zeros((4, 5, 6), np.int16)
    grid = foreign_grid(data, attributes)
    np.testing.assert_allclose(grid.to_world((0, 0, 0)), (-30.0, -20.0, -10.0))
    np.testing.assert_allclose(grid.to_world((1, 0, 0)), (-30.0, -20.0, -15.0))
    np.testing.assert_allclose(grid.to_world((0, 0, 1)), (-33.0, -20.0, -10.0))
    scale, translate = ipl_placement(Reorientation.towards(grid, IPL).target)
    assert (scale, translate) == (attributes["scale"], attributes["translate"])
    assert scan_from_layer(data, attributes).grid.same_as(grid)


def test_rotated_or_flat_foreign_layers_are_refused() -> None:
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    attributes = {"scale": (1, 1, 1), "translate": (0, 0, 0), "name": "other"}
    with pytest.raises(GeometryError, match="turned by its own rotate"):
        scan_from_layer(np.zeros((2, 3, 4)), {**attributes, "rotate": turn})
    with pytest.raises(GeometryError, match="three axes"):
        scan_from_layer(np.zeros((3, 4)), attributes)


@pytest.mark.parametrize(
    ("modality", "low", "high", "expected"),
    [("CT", -1000, 1500, (-160, 240)), ("", -1000, 1500, (-160, 240)), ("MR", 0, 999, (5, 995))],
)
def test_first_window_suits_the_modality(modality, low, high, expected) -> None:
    grid = Grid((10, 10, 10), np.eye(4))
    voxels = np.linspace(low, high, 1000).reshape(1, 10, 10, 10).astype(np.float32)
    _, attributes, _ = layer_from_scan(Scan(voxels, grid, modality), "x")
    np.testing.assert_allclose(attributes["contrast_limits"], expected, atol=1)


def test_a_constant_scan_with_nan_has_a_window() -> None:
    voxels = np.full((1, 4, 4, 4), np.nan, np.float32)
    grid = Grid((4, 4, 4), np.eye(4))
    assert layer_from_scan(Scan(voxels, grid), "x")[1]["contrast_limits"] == (0.0, 1.0)
    assert layer_from_scan(Scan(voxels * 0 + 3, grid), "x")[1]["contrast_limits"] == (0.0, 1.0)
    constant = np.full((1, 4, 4, 4), 3, np.int16)
    assert layer_from_scan(Scan(constant, grid), "x")[1]["contrast_limits"] == (3.0, 4.0)
