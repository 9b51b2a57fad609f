"""Files to layers and layers to files, through napari's own plugin engine."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

import nibabel as nib
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from npe2 import PluginManager, read, write

from medseg.errors import GeometryError, ReadError
from medseg.reading import read_labels
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.writing import write_labels
from medseg_napari.display import commands
from medseg_napari.file_probe import looks_like_labels
from medseg_napari.layers import adopt, layer_from_labels, layer_from_scan, scan_from_layer


def opened(path: Path) -> tuple:
    (layer,) = read([str(path)], stack=False, plugin_name="medseg")
    return layer


def oblique_affine() -> np.ndarray:
    affine = nib.affines.from_matvec(np.array([[0.1, 0, -2.9], [1.2, 0.05, 0.1], [0, -0.8, 0.1]]))
    affine[:3, 3] = (0.1, -20.3, 700.7)
    return affine


@pytest.mark.parametrize("affine", [oblique_affine(), np.diag([-1.0, 2.0, 0.3, 1.0])])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_labels_return_to_their_own_grid_bit_for_bit(tmp_path, affine, suffix) -> None:
    values = np.random.default_rng(0).integers(0, 3, (9, 8, 7)).astype(np.uint8)
    table = LabelTable.of({1: "head", 2: "tail"})
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    write_labels(LabelMap(values, Grid(values.shape, affine), table), first)
    data, attributes, kind = opened(first)
    assert kind == "labels"
    layer = Layer.create(data, attributes, kind)
    assert write(str(second), [layer], plugin_name="medseg") == [str(second)]
    one, two = nib.load(first), nib.load(second)
    np.testing.assert_array_equal(np.asarray(two.dataobj), values)
    assert two.affine.tobytes() == one.affine.tobytes()
    assert read_labels(second).table == table


def test_all_48_orientations_open_and_are_written_back_as_they_were(tmp_path) -> None:
    values = np.random.default_rng(0).integers(0, 3, (5, 4, 3)).astype(np.uint8)
    table = LabelTable.of({1: "head", 2: "tail"})
    first, second = tmp_path / "first.nii", tmp_path / "second.nii"
    steps = np.diag([0.7, 1.5, 3.0])
    count = 0
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            matrix = (np.diag(signs) @ steps)[:, order]
            affine = nib.affines.from_matvec(matrix, (0.1, -20.3, 700.7))
            write_labels(LabelMap(values, Grid(values.shape, affine), table), first)
            layer = Layer.create(*opened(first))
            assert min(layer.scale) > 0
            assert write(str(second), [layer], plugin_name="medseg") == [str(second)]
            one, two = nib.load(first), nib.load(second)
            assert two.affine.tobytes() == one.affine.tobytes()
            np.testing.assert_array_equal(np.asarray(two.dataobj), values)
            count += 1
    assert count == 48


def test_a_crop_and_its_scan_say_the_same_at_every_point_of_the_world() -> None:
    rng = np.random.default_rng(3)
    matrix = np.array([[0, 0, -3.0], [0.7, 0, 0], [0, -1.5, 0]])
    full = Grid((9, 8, 7), nib.affines.from_matvec(matrix, (5, 6, 7)))
    values = rng.integers(1, 200, full.shape).astype(np.uint8)
    moved = full.affine.copy()
    moved[:3, 3] = full.to_world((2, 1, 3))
    table = LabelTable.of({value: str(value) for value in range(1, 200)})
    crop = LabelMap(values[2:6, 1:5, 3:], Grid((4, 4, 4), moved), table)
    layers = [
        Layer.create(*layer_from_labels(one, "x")) for one in (LabelMap(values, full, table), crop)
    ]
    points = layers[1].translate + rng.uniform(-0.4, 3.4, (200, 3)) * layers[1].scale

    def value(layer, point) -> int:
        return int(layer.data[tuple(np.rint(layer.world_to_data(point)).astype(int))])

    seen = [[value(layer, point) for point in points] for layer in layers]
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 20


def test_a_real_scan_opens_as_an_image(hippocampus: Path) -> None:
    data, attributes, kind = opened(hippocampus)
    image = nib.load(hippocampus)
    assert kind == "image"
    assert attributes["name"] == "hippocampus_001"
    # This file's axes grow to R, A, S by 1 mm; the display's to I, P, L.
    turned = np.asarray(image.dataobj).transpose(2, 1, 0)[::-1, ::-1, ::-1]
    np.testing.assert_array_equal(data, turned)
    x, y, z = image.affine[:3, :3] @ (np.array(image.shape) - 1) + image.affine[:3, 3]
    np.testing.assert_allclose(attributes["translate"], (-z, -y, -x))


def test_real_labels_without_an_intent_code_open_as_labels(shared_data: Path) -> None:
    _, attributes, kind = opened(shared_data / "hippocampus/labels/hippocampus_001.nii.gz")
    assert kind == "labels"
    assert list(attributes["features"]["index"]) == [0, 1, 2]


def test_no_real_image_is_taken_for_labels(shared_data: Path) -> None:
    from medseg.reading import read_scan

    folder = shared_data / "hippocampus"
    for image in sorted((folder / "images").glob("*.nii.gz"))[::8]:
        assert not looks_like_labels(read_scan(image)), image.name
        assert looks_like_labels(read_scan(folder / "labels" / image.name)), image.name


def test_a_damaged_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"not a scan")
    with pytest.raises(ReadError, match=r"broken\.nii\.gz"):
        opened(path)


def test_labels_drawn_by_hand_come_back_on_the_grid_of_their_scan(hippocampus: Path) -> None:
    from medseg.reading import read_scan

    scan = read_scan(hippocampus)
    data, attributes, _ = layer_from_scan(scan, "scan")
    drawn = Labels(
        np.zeros(data.shape, np.int32), scale=attributes["scale"], translate=attributes["translate"]
    )
    drawn_data, drawn_attributes, _ = drawn.as_layer_data_tuple()
    adopted = adopt(drawn_data, drawn_attributes, [(data, attributes)])
    assert adopted["metadata"]["medseg"]["grid"].affine.tobytes() == scan.grid.affine.tobytes()
    assert "medseg" not in adopt(drawn_data, drawn_attributes, [(data[1:], attributes)])["metadata"]


def test_sample_data() -> None:
    (_, scan, scan_kind), (_, labels, labels_kind) = medseg_sample()
    assert (scan_kind, labels_kind) == ("image", "labels")
    assert scan["scale"] == labels["scale"]
    assert "liver" in list(labels["features"]["name"])


def medseg_sample() -> list:
    return PluginManager.instance().commands.execute("medseg.sample_abdomen")


def test_a_dicom_folder_opens_as_one_image(shared_data: Path) -> None:
    data, attributes, kind = opened(shared_data / "hippocampus_dicom_crops" / "Study1")
    assert (kind, attributes["name"]) == ("image", "Study1")
    source = attributes["metadata"]["medseg"]
    assert source["provenance"].series_uid
    assert sorted(data.shape) == sorted(source["grid"].shape)


def test_a_folder_with_several_series_opens_them_all(shared_data: Path) -> None:
    folder = shared_data / "dicom_vendor_qa" / "mr_agfa_private_tags"
    layers = read([str(folder)], stack=False, plugin_name="medseg")
    assert len(layers) == 2
    assert len({attributes["name"] for _, attributes, _ in layers}) == 2
    assert len({a["metadata"]["medseg"]["provenance"].series_uid for _, a, _ in layers}) == 2


def test_a_dicom_segmentation_opens_as_named_labels(shared_data: Path) -> None:
    _, attributes, kind = opened(shared_data / "dicom_seg_rtstruct" / "dcmqi" / "liver.dcm")
    assert kind == "labels"
    assert "Liver" in list(attributes["features"]["name"])


def test_labels_of_a_dicom_series_become_a_dicom_segmentation(tmp_path, shared_data: Path) -> None:
    from medseg.reading import read_scan

    scan = read_scan(shared_data / "hippocampus_dicom_crops" / "Study1")
    values = (scan.voxels[0] > np.percentile(scan.voxels, 90)).astype(np.uint8)
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "bright"}), scan.provenance)
    layer = Layer.create(*layer_from_labels(labels, "labels"))
    path = tmp_path / "labels.dcm"
    assert write(str(path), [layer], plugin_name="medseg") == [str(path)]
    back = read_labels(path)
    assert back.table.names == ("bright",)
    inside = np.argwhere(values)
    index = np.rint(back.grid.to_index(scan.grid.to_world(inside))).astype(int)
    assert (back.values[tuple(index.T)] == 1).all()
    assert (back.values == 1).sum() == len(inside)


def four_axes(path: Path, *, step: float = 2500.0, unit: str = "msec", intent: int = 0) -> Path:
    """A NIfTI of 5 x 6 x 7 voxels and 4 volumes, oblique; returns `path`."""
    voxels = np.random.default_rng(1).integers(0, 900, (5, 6, 7, 4)).astype(np.int16)
    image = nib.Nifti1Image(voxels, oblique_affine())
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    image.header["intent_code"] = intent
    nib.save(image, path)
    return path


def test_time_points_of_a_nifti_open_as_axis_t_and_return(tmp_path) -> None:
    first, second = four_axes(tmp_path / "first.nii.gz"), tmp_path / "second.nii.gz"
    layer = Layer.create(*opened(first))
    assert layer.axis_labels == ("T", "I", "P", "L")
    assert layer.data.shape[0] == 4
    assert layer.scale[0] == 2.5
    assert str(layer.units[0]) == "second"
    with pytest.raises(GeometryError, match="4 time points"):
        scan_from_layer(*layer.as_layer_data_tuple()[:2])

    assert write(str(second), [layer], plugin_name="medseg") == [str(second)]
    one, two = nib.load(first), nib.load(second)
    np.testing.assert_array_equal(np.asarray(two.dataobj), np.asarray(one.dataobj))
    assert two.affine.tobytes() == one.affine.tobytes()
    assert two.header.get_zooms()[3] == 2.5
    assert two.header.get_xyzt_units() == ("mm", "sec")
    again = Layer.create(*opened(second))
    assert again.axis_labels == layer.axis_labels
    np.testing.assert_array_equal(again.data, layer.data)


def test_a_time_point_of_a_nifti_is_a_scan_and_returns(tmp_path) -> None:
    path, third = four_axes(tmp_path / "first.nii"), tmp_path / "third.nii"
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*opened(path)))
    viewer.dims.set_point(0, 7.5)  # seconds
    commands.take_time_point(viewer)
    taken = viewer.layers[-1]
    assert taken.name.endswith("time 4")
    assert scan_from_layer(*taken.as_layer_data_tuple()[:2]).channels == 1
    assert write(str(third), [taken], plugin_name="medseg") == [str(third)]
    expected = np.asarray(nib.load(path).dataobj)[..., 3]
    np.testing.assert_array_equal(np.asarray(nib.load(third).dataobj), expected)
    assert nib.load(third).affine.tobytes() == nib.load(path).affine.tobytes()


@pytest.mark.parametrize(
    "header", [{"step": 0.0}, {"unit": "unknown"}, {"unit": "ppm"}, {"intent": 1007}]
)
def test_a_fourth_axis_without_time_is_channels(tmp_path, header) -> None:
    first, second = four_axes(tmp_path / "first.nii", **header), tmp_path / "second.nii"
    layer = Layer.create(*opened(first))
    assert layer.axis_labels == ("C", "I", "P", "L")
    scan = scan_from_layer(*layer.as_layer_data_tuple()[:2])
    assert (scan.channels, scan.time_step_s) == (4, 0.0)
    assert write(str(second), [layer], plugin_name="medseg") == [str(second)]
    assert Layer.create(*opened(second)).axis_labels == ("C", "I", "P", "L")


def test_a_vector_in_the_fifth_axis_is_channels(tmp_path) -> None:
    image = nib.Nifti1Image(np.zeros((5, 6, 7, 1, 3), np.float32), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "vectors.nii")
    assert Layer.create(*opened(tmp_path / "vectors.nii")).axis_labels == ("C", "I", "P", "L")
