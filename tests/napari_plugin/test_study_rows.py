"""Rows and ways of opening a study, and what they open; no window is needed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")

import SimpleITK
from napari.components import ViewerModel
from napari.layers import Layer

from dicom_phantom import Series, random_stored, save
from medseg.errors import GeometryError, InputError
from medseg.runtime.progress import silent
from medseg.volume import LabelMap, LabelTable
from medseg.writing import write_labels
from medseg_napari.display import commands, setup
from medseg_napari.display.overlays import letters
from medseg_napari.layers import KEY, labels_from_layer, layer_from_labels, scan_from_layer
from medseg_napari.study_rows import (
    TIMES,
    description_text,
    is_refused,
    list_entries,
    open_entry,
    openings_of,
    row_of,
)


def only(path):
    (entry,) = list_entries(path, silent)
    return entry


def opened(entry, choice=0):
    (layer,) = open_entry(entry, openings_of(entry)[choice], silent)
    return layer


def tilted(folder, degrees=18.5):
    angle = np.radians(degrees)
    step = 4 * np.array([0, np.sin(angle), np.cos(angle)])
    Series(random_stored(), step_mm=step).write(folder)
    return only(folder)


def test_label_maps_of_a_dataset_are_told_from_scans(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        image = SimpleITK.GetImageFromArray(np.arange(60).reshape(5, 4, 3).astype(np.int16))
        SimpleITK.WriteImage(image, str(tmp_path / folder / "a.nii.gz"))
    scan, labels = list_entries(tmp_path, silent)
    assert row_of(scan).verdict == "ready"
    assert row_of(labels).verdict == "ready, labels"
    assert "they open as a label map" in description_text(labels)
    assert len(openings_of(labels)) == 1


def test_a_row_says_what_a_radiologist_looks_for(tmp_path):
    tags = {"SeriesDescription": "Thorax 2.5", "WindowCenter": 40, "WindowWidth": 300}
    Series(random_stored(), tags=tags).write(tmp_path)
    entry = only(tmp_path)
    assert row_of(entry) == ("CT", "Thorax 2.5", f"0.4{TIMES}0.7{TIMES}2.5", "6", "ready")
    _, attributes, kind = opened(entry)
    assert kind == "image"
    assert attributes["contrast_limits"] == (-110, 190)
    assert "Thorax" not in attributes["name"]
    assert [one.text for one in openings_of(entry)] == ["as it lies in the files"]


def test_tilted_slices_open_as_they_lie_or_straightened(tmp_path):
    entry = tilted(tmp_path / "head")
    assert row_of(entry).verdict == "ready, tilted 18.5°"
    assert "lean by 18.5°" in description_text(entry)
    plain, straight = opened(entry, 0), opened(entry, 1)
    assert plain[1]["name"] == "head (tilted 18.5°)"
    assert plain[0].shape == (6, 9, 7)
    assert straight[1]["name"] == "head"
    assert straight[0].shape[1] > 9  # leaning slices need more room

    scan = scan_from_layer(*straight[:2])
    assert scan.grid.shear_degrees == pytest.approx(0, abs=1e-5)
    assert any("straightened" in note for note in scan.provenance.notes)
    values = np.ones(scan.grid.shape, np.uint8)
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "all"}), scan.provenance)
    layer = layer_from_labels(labels, "all")
    path = write_labels(labels_from_layer(*layer[:2]), tmp_path / "all.dcm")
    from medseg.reading import read_labels

    back = read_labels(path)
    assert back.grid.same_as(scan_from_layer(*plain[:2]).grid)  # on the files' own slices
    assert (back.values == 1).all()


def test_uneven_and_missing_slices_open_only_when_asked_to(tmp_path):
    Series(random_stored((9, 5, 4))).write(tmp_path / "gap", skip=(3,))
    series = Series(random_stored((9, 5, 4)))
    paths = series.write(tmp_path / "uneven")
    moved = series.slice(4)
    moved.ImagePositionPatient = list(np.add(series.position(4), [0, 0, 0.5]))
    save(moved, paths[4])
    gap, uneven = list_entries(tmp_path, silent)
    assert row_of(gap).verdict == "1 slice missing: choose how"
    assert row_of(uneven).verdict == "uneven slices: choose how"
    for entry in (gap, uneven):
        assert all(one.changes for one in openings_of(entry))
        assert "--" not in description_text(entry)  # no option of the command line
        assert opened(entry)[0].shape == (9, 5, 4)


def test_refused_series_say_why_and_offer_nothing(tmp_path):
    kind = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    Series(random_stored(), tags={"ImageType": kind}).write(tmp_path)
    entry = only(tmp_path)
    assert row_of(entry).verdict == "unplaced mosaic"
    assert is_refused(entry)
    assert "dcm2niix" in description_text(entry)


def test_a_folder_without_images_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("no scan")
    with pytest.raises(InputError, match="holds no scan"):
        list_entries(tmp_path, silent)


def test_time_points_become_an_axis_and_one_of_them_a_layer(tmp_path):
    values = []
    for number in range(3):
        tags = {"TemporalPositionIdentifier": number + 1}
        series = Series(random_stored() + number, uid="1.2.3", frame_of_reference="1.4", tags=tags)
        series.write(tmp_path, prefix=f"t{number}")
        values.append(series.values())
    entry = only(tmp_path)
    assert row_of(entry).slices == f"6{TIMES}3 T"
    data, attributes, _ = opened(entry)
    assert data.shape == (3, 6, 9, 7)
    assert attributes["axis_labels"] == ("T", "I", "P", "L")
    assert attributes["units"] == ("pixel", "mm", "mm", "mm")
    with pytest.raises(GeometryError, match="3 time points"):
        scan_from_layer(data, attributes)

    viewer = ViewerModel()
    setup.install(viewer)
    viewer.add_layer(Layer.create(data, attributes, "image"))
    viewer.dims.set_current_step(0, 1)
    commands.take_time_point(viewer)
    taken = viewer.layers[-1]
    assert taken.name.endswith("time 2")
    scan = scan_from_layer(*taken.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(scan.voxels[0], values[1])
    commands.coronal(viewer)
    assert viewer.dims.order == (0, 2, 1, 3)
    assert letters(viewer)["left"] == "R"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_no_millimetres_and_no_letters(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, channels)).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(pixels.squeeze(), isVector=channels == 3)
    SimpleITK.WriteImage(image, str(tmp_path / "cells.png"))
    entry = only(tmp_path)
    assert row_of(entry).verdict == "ready, no size in mm"
    data, attributes, kind = opened(entry)
    assert attributes["name"] == "cells.png (no size in mm)"
    assert set(attributes["units"]) == {"pixel"}
    assert attributes.get("rgb", False) is (channels == 3)
    scan = scan_from_layer(data, attributes)
    assert scan.voxels.shape == (channels, 30, 20, 1)
    shown = np.asarray(data[0]).reshape(20, 30, channels)
    np.testing.assert_array_equal(shown, pixels)  # neither turned nor mirrored

    viewer = ViewerModel()
    setup.install(viewer)
    viewer.add_layer(Layer.create(data, attributes, kind))
    assert set(letters(viewer).values()) == {""}
    assert not viewer.canvas.overlays.scale_bar.visible
    assert KEY in viewer.layers[0].metadata


def test_segmentations_and_contours_open_as_named_labels(shared_data):
    """Beside their scans, on the files' own slices; overlapping segments only by a rule."""
    from medseg.errors import LabelError

    found = {
        one.report.name: one for one in list_entries(shared_data / "dicom_seg_rtstruct", silent)
    }
    contours, overlapping = found["rt"], found["seg_image_ct_binary_overlap"]
    assert row_of(contours).modality == "RT"
    assert row_of(contours).verdict == "ready, labels"
    data, attributes, kind = opened(contours)
    assert (kind, list(attributes["features"]["name"])) == ("labels", ["background", "ROI-1"])
    assert data.any()
    with pytest.raises(LabelError, match="overlap"):
        opened(overlapping)
    first, last = opened(overlapping, 1)[0], opened(overlapping, 2)[0]
    assert ((first > 0) == (last > 0)).all()
    assert (first != last).any()
    (alone,) = list_entries(contours.path, silent)
    assert alone.report.modality == "RTSTRUCT"


@pytest.mark.parametrize(
    ("unit", "words", "axis"),
    [("sec", "4 time points, 2 s apart", "T"), ("unknown", "4 channels (the header", "C")],
)
def test_a_nifti_says_what_its_fourth_axis_is_taken_for(tmp_path, unit, words, axis):
    import nibabel

    image = nibabel.Nifti1Image(np.zeros((5, 6, 7, 4), np.int16), np.diag([1, 1, 3, 1]))
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = 2
    nibabel.save(image, tmp_path / "series.nii.gz")
    entry = only(tmp_path)
    assert words in description_text(entry)
    _, attributes, _ = opened(entry)
    assert attributes["axis_labels"] == (axis, "I", "P", "L")
