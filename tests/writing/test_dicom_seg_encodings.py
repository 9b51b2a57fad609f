"""Two ways to store a DICOM SEG, seen by other programs."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import WriteError
from medseg.reading import read_labels, read_scan
from medseg.volume import Code, Label, LabelMap, LabelTable
from medseg.writing import write_labels
from writing.dicom_validator import errors_of

TILTED = Series(random_stored(), step_mm=np.array([0, 1.3, 3.9]))


def labelled(scan, values=(2, 7, 300)):
    drawn = np.random.default_rng(0).choice([0, 0, *values], scan.grid.shape).astype(np.uint16)
    table = LabelTable.of({value: f"organ {value}" for value in values})
    return LabelMap(drawn, scan.grid, table, scan.provenance)


def kind(path):
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    return dataset.SegmentationType, dataset.file_meta.TransferSyntaxUID.name


@pytest.fixture
def labels(tmp_path):
    TILTED.write(tmp_path / "ct")
    return labelled(read_scan(tmp_path / "ct"))


@pytest.mark.parametrize("encoding", ["binary", "labelmap", "auto"])
def test_labels_come_back_from_a_tilted_series(tmp_path, labels, encoding):
    back = read_labels(write_labels(labels, tmp_path / "a.dcm", encoding=encoding))
    assert np.array_equal(back.values, labels.values)
    assert back.grid.same_as(labels.grid, tolerance_mm=1e-3)
    assert back.table.names == labels.table.names
    assert back.table.values == labels.table.values


MASS, ABNORMAL = (
    Code("4147007", "SCT", "Mass"),
    Code("49755003", "SCT", "Morphologically Abnormal Structure"),
)
CODED = LabelTable(
    (
        Label(value=2, name="liver", color=(0, 0, 0), code=Code("10200004", "SCT", "Liver")),
        Label.coded(7, "mass", (255, 255, 255), category=ABNORMAL, type_code=MASS),
        Label(value=300, name="scar", color=(0, 0, 0), category=ABNORMAL),
    )
)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("a.dcm", "binary"), ("a.dcm", "labelmap"), ("a.seg.nrrd", ""), ("a.nii.gz", "")],
)
def test_category_and_code_come_back(tmp_path, labels, name, encoding):
    Series(random_stored()).write(tmp_path / "straight")
    scan = read_scan(tmp_path / "straight")
    coded = LabelMap(labels.values, scan.grid, CODED, scan.provenance)
    more = {"encoding": encoding} if encoding else {}
    path = write_labels(coded, tmp_path / name, **more)
    back = read_labels(path).table
    assert [(one.code, one.category) for one in back] == [(one.code, one.category) for one in CODED]
    if name == "a.dcm":
        segments = pydicom.dcmread(path, stop_before_pixels=True).SegmentSequence
        kinds = [one.SegmentedPropertyCategoryCodeSequence[0].CodeValue for one in segments]
        assert kinds[-3:] == ["123037004", "49755003", "49755003"]


def test_categories_of_former_editions_are_the_same():
    older = Code("91723000", "SCT", "Anatomical Structure")
    assert Label.coded(1, "a", (0, 0, 0), category=older, type_code=MASS).category is None
    srt = Code("T-D0050", "SRT", "Tissue")
    assert Label.coded(1, "a", (0, 0, 0), category=srt, type_code=srt) == Label(
        value=1, name="a", color=(0, 0, 0)
    )


def test_label_maps_are_compressed_and_complete(tmp_path, labels):
    path = write_labels(labels, tmp_path / "a.dcm", encoding="labelmap")
    assert kind(path) == ("LABELMAP", "RLE Lossless")
    frames = highdicom.seg.segread(path).get_pixels_by_source_instance(
        source_sop_instance_uids=labels.provenance.instance_uids,
        combine_segments=True,
        ignore_spatial_locations=True,
    )
    numbers = np.select([labels.values == one for one in (2, 7, 300)], [1, 2, 3])
    assert np.array_equal(frames, numbers.transpose(2, 1, 0))


def test_the_two_encodings_are_two_objects(tmp_path, labels):
    uids = [
        pydicom.dcmread(write_labels(labels, tmp_path / f"{one}.dcm", encoding=one)).SOPInstanceUID
        for one in ("binary", "labelmap", "labelmap")
    ]
    assert uids[0] != uids[1] == uids[2]


@pytest.mark.parametrize(("count", "expected"), [(8, "BINARY"), (9, "LABELMAP")])
def test_auto_chooses_by_the_number_of_segments(tmp_path, count, expected):
    TILTED.write(tmp_path / "ct")
    labels = labelled(read_scan(tmp_path / "ct"), values=range(1, count + 1))
    assert kind(write_labels(labels, tmp_path / "a.dcm", encoding="auto"))[0] == expected


def test_more_segments_than_a_byte_can_number(tmp_path):
    TILTED.write(tmp_path / "ct")
    labels = labelled(read_scan(tmp_path / "ct"), values=range(1, 301))
    back = read_labels(write_labels(labels, tmp_path / "a.dcm", encoding="labelmap"))
    assert np.array_equal(back.values, labels.values)


@pytest.mark.parametrize(("name", "encoding"), [("a.nii.gz", "binary"), ("a.dcm", "fractional")])
def test_an_encoding_that_is_not_there(tmp_path, labels, name, encoding):
    with pytest.raises(WriteError, match=encoding) as caught:
        write_labels(labels, tmp_path / name, encoding=encoding)
    assert caught.value.code == "ENCODING"
    assert not (tmp_path / name).exists()


def test_dciodvfy_finds_no_error(tmp_path, labels):
    assert errors_of(write_labels(labels, tmp_path / "a.dcm")) == []


def test_dciodvfy_finds_no_error_on_a_real_ct(shared_data, tmp_path):
    labels = labelled(read_scan(shared_data / "dicom_seg_rtstruct/dcmqi/ct-3slice"))
    assert errors_of(write_labels(labels, tmp_path / "a.dcm")) == []
