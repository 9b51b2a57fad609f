"""DICOM SEG of other programs, back to label maps."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import LabelError, ReadError
from medseg.reading import read_labels, read_scan
from medseg.volume import Code


def segmentation(tmp_path, values, kind, **options):
    """A SEG that highdicom makes on a tilted series; values shape (K, J, I)."""
    series = Series(random_stored((6, 9, 7)), step_mm=np.array([0, 1.0, 4.0]))
    sources = [pydicom.dcmread(path) for path in series.write(tmp_path / "ct")]
    tissue = highdicom.sr.CodedConcept("85756007", "SCT", "Tissue")
    segments = [
        highdicom.seg.SegmentDescription(number, name, tissue, tissue, "MANUAL")
        for number, name in enumerate(("one", "two"), start=1)
    ]
    made = highdicom.seg.Segmentation(
        sources, values, kind, segments, pydicom.uid.generate_uid(), 5,
        pydicom.uid.generate_uid(), 1, "maker", "model", "1", "2", **options,
    )  # fmt: skip
    made.save_as(tmp_path / "seg.dcm")
    return series


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
