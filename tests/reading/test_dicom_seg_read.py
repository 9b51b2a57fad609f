"""DICOM SEG of other programs, back to label maps."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import InputError, LabelError, ReadError
from medseg.reading import read_labels, read_scan
from medseg.volume import Code, LabelMap, LabelTable
from medseg.writing import write_labels


def segmentation(tmp_path, values, kind, **options):
    """A SEG that highdicom makes on a tilted series; values shape (K, J, I)."""
    series = Series(random_stored((6, 9, 7)), step_mm=np.array([0, 1.0, 4.0]))
    sources = [pydicom.dcmread(path) for path in series.write(tmp_path / "ct")]
    saved(tmp_path / "seg.dcm", sources, values, kind, **options)
    return series


def saved(path, sources, values, kind, **options):
    """A SEG that highdicom makes, with two segments."""
    tissue = highdicom.sr.CodedConcept("85756007", "SCT", "Tissue")
    segments = [
        highdicom.seg.SegmentDescription(number, name, tissue, tissue, "MANUAL")
        for number, name in enumerate(("one", "two"), start=1)
    ]
    made = highdicom.seg.Segmentation(
        sources,
        values,
        kind,
        segments,
        pydicom.uid.generate_uid(),
        5,
        pydicom.uid.generate_uid(),
        1,
        "maker",
        "model",
        "1",
        "2",
        **options,
    )
    made.save_as(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_slices_left_out_as_empty_keep_their_neighbours_apart(tmp_path, kind):
    values = np.random.default_rng(0).choice([0, 1, 2], (6, 9, 7)).astype(np.uint8)
    values[[0, 3]] = 0
    series = segmentation(tmp_path, values, kind, omit_empty_frames=True)
    labels = read_labels(tmp_path / "seg.dcm")
    assert labels.table.names == ("one", "two")
    assert np.array_equal(labels.values, values[1:].transpose(2, 1, 0))
    np.testing.assert_allclose(labels.grid.to_world((2, 3, 4)), series.world(2, 3, 5), atol=1e-6)


def test_liver_of_dcmqi_equals_its_nrrd(shared_data):
    folder = shared_data / "dicom_seg_rtstruct/dcmqi"
    labels, truth = read_labels(folder / "liver.dcm"), read_labels(folder / "liver_seg.nrrd")
    assert labels.grid.same_as(truth.grid)
    assert np.array_equal(labels.values, truth.values)
    (label,) = labels.table
    assert (label.name, label.code) == ("Liver", Code("T-62000", "SRT", "Liver"))
    assert labels.grid.same_as(read_scan(folder / "ct-3slice").grid)


def test_overlap_is_refused_and_the_pairs_are_listed(shared_data):
    with pytest.raises(LabelError, match="first segment and second segment") as caught:
        read_labels(shared_data / "dicom_seg_rtstruct/highdicom/seg_image_ct_binary_overlap.dcm")
    assert caught.value.code == "OVERLAP"


OVERLAP = "dicom_seg_rtstruct/highdicom/seg_image_ct_binary_overlap.dcm"


def masks_of(path):
    """Where each segment is, by its own frames; shape (I, J, K) by number."""
    grid, ds = read_labels(path, overlaps="last").grid, pydicom.dcmread(path)
    masks = {one.SegmentNumber: np.zeros(grid.shape, bool) for one in ds.SegmentSequence}
    for pixels, item in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(grid.to_index(position * [-1, -1, 1])[2])
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        masks[number][:, :, k] |= pixels.T > 0
    return masks


@pytest.mark.parametrize("segments", [(1,), (2,), ("first segment",), ("2",)])
def test_one_of_the_segments_that_overlap(shared_data, segments):
    path = shared_data / OVERLAP
    number = 2 if str(segments[0]) == "2" else 1
    labels = read_labels(path, segments=segments)
    assert np.array_equal(labels.values > 0, masks_of(path)[number])
    assert labels.table.values == (number,)
    assert not labels.provenance.notes


@pytest.mark.parametrize(
    ("segments", "rule", "winner"),
    [((), "first", 1), ((), "last", 2), ((2, 1), "first", 2), ((2, 1), "last", 1)],
)
def test_a_rule_for_overlaps_is_told(shared_data, segments, rule, winner):
    path = shared_data / OVERLAP
    masks = masks_of(path)
    both = masks[1] & masks[2]
    labels = read_labels(path, segments=segments, overlaps=rule)
    truth = np.where(both, winner, masks[1] * 1 + masks[2] * 2)
    assert np.array_equal(labels.values, truth)
    (note,) = labels.provenance.notes
    assert f"{both.sum()} voxels" in note
    assert rule in note


def test_segments_and_rules_that_there_are_not(shared_data):
    with pytest.raises(LabelError, match=r"'liver'.*1 \(first segment\)") as caught:
        read_labels(shared_data / OVERLAP, segments=["liver"])
    assert caught.value.code == "UNKNOWN_LABEL"
    with pytest.raises(InputError, match="refuse, first, last"):
        read_labels(shared_data / OVERLAP, overlaps="largest")


@pytest.mark.parametrize(
    ("number", "tracking"), [(1, ""), (2, "medseg label 1"), (2, "medseg label 70000")]
)
def test_segments_that_share_a_number_or_have_none(shared_data, tmp_path, number, tracking):
    ds = pydicom.dcmread(shared_data / OVERLAP)
    ds.SegmentSequence[0].TrackingID = "medseg label 1"
    ds.SegmentSequence[1].SegmentNumber = number
    ds.SegmentSequence[1].TrackingID = tracking
    ds.save_as(tmp_path / "a.dcm")
    with pytest.raises(LabelError, match=r"number|values"):
        read_labels(tmp_path / "a.dcm")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tiny_frames_that_are_padded_are_refused(tmp_path):
    series = Series(random_stored((4, 2, 2)))
    sources = [pydicom.dcmread(path) for path in series.write(tmp_path / "ct")]
    saved(tmp_path / "seg.dcm", sources, np.ones((4, 2, 2), np.uint8), "BINARY")
    with pytest.raises(ReadError, match="padding"):
        read_labels(tmp_path / "seg.dcm")


def test_fractions_of_half_and_more_are_kept(shared_data):
    path = shared_data / "dicom_seg_rtstruct/highdicom/seg_image_ct_true_fractional.dcm"
    labels, ds = read_labels(path), pydicom.dcmread(path)
    for pixels, item in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(labels.grid.to_index(position * [-1, -1, 1])[2])
        assert np.array_equal(labels.values[:, :, k] > 0, pixels.T >= 127.5)
    assert "fractional" in labels.provenance.notes[0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_fractional_segments(tmp_path):
    shares = np.random.default_rng(0).random((6, 9, 7, 2)).astype(np.float32) * 0.5
    shares[..., 0] = np.where(shares[..., 1] < 0.25, 0.9, 0.1)
    shares[..., 1] = np.where(shares[..., 0] > 0.5, 0.0, 0.8)
    segmentation(tmp_path, shares, "FRACTIONAL", fractional_type="PROBABILITY")
    labels = read_labels(tmp_path / "seg.dcm")
    assert np.array_equal(labels.values, shares.argmax(-1).transpose(2, 1, 0) + 1)


def test_frames_land_on_the_slices_they_refer_to(shared_data):
    folder = shared_data / "dicom_seg_rtstruct/highdicom"
    labels = read_labels(folder / "seg_image_ct_binary.dcm")
    ds = pydicom.dcmread(folder / "seg_image_ct_binary.dcm")
    for pixels, item in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        i, j, k = np.round(labels.grid.to_index(position * [-1, -1, 1])).astype(int)
        assert (i, j) == (0, 0)
        assert np.array_equal(labels.values[:, :, k], pixels.T)


def test_a_segmentation_is_no_scan(shared_data):
    with pytest.raises(ReadError, match="segmentation") as caught:
        read_scan(shared_data / "dicom_seg_rtstruct/dcmqi/liver.dcm")
    assert caught.value.code == "NOT_A_SCAN"


def test_damaged_segmentation(shared_data, tmp_path):
    content = (shared_data / "dicom_seg_rtstruct/dcmqi/liver.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ReadError, match=r"cut\.dcm"):
        read_labels(tmp_path / "cut.dcm")


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
def test_a_number_is_the_value_that_the_label_map_shows(tmp_path, encoding):
    Series(random_stored((4, 9, 8))).write(tmp_path / "ct")
    scan = read_scan(tmp_path / "ct")
    values = np.random.default_rng(0).choice([0, 2, 5], scan.grid.shape).astype(np.uint8)
    table = LabelTable.of({2: "liver", 5: "spleen"})
    labels = LabelMap(values, scan.grid, table, scan.provenance)
    path = write_labels(labels, tmp_path / "a.dcm", encoding=encoding)
    for value, name in ((2, "liver"), (5, "spleen")):
        for wanted in (str(value), name):
            found = read_labels(path, segments=[wanted])
            assert found.table.names == (name,)
            assert np.array_equal(found.values, np.where(values == value, value, 0))
    with pytest.raises(LabelError, match="segment or label '1'"):
        read_labels(path, segments=["1"])
