"""DICOM SEG of other programs, back to label maps."""

from __future__ import annotations

import copy

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import GeometryError, InputError, LabelError, ReadError
from medseg.reading import read_labels, read_scan
from medseg.reading.dicom.segment_labels import rgb_of_cielab
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


def changed(tmp_path, change, *, values=None):
    """A binary SEG of six slices and its series, after `change` was done to it."""
    values = np.zeros((6, 9, 7), np.uint8) if values is None else values
    if not values.any():
        values[1:4, 2:5, 1:6] = 1
    series = Series(random_stored((6, 9, 7)), tags={"SliceThickness": "2.5"})
    sources = [pydicom.dcmread(path) for path in series.write(tmp_path / "ct")]
    saved(tmp_path / "seg.dcm", sources, values, "BINARY")
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    change(dataset)
    dataset.save_as(tmp_path / "seg.dcm")
    return tmp_path / "seg.dcm"


def frame_moved(dataset):
    position = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    x, y, z = position.ImagePositionPatient
    position.ImagePositionPatient = [x + 1.2, y, z]


def frame_of_other_spacing(dataset):
    measures = pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["0.7", "0.5"], "2.5"
    dataset.PerFrameFunctionalGroupsSequence[2].PixelMeasuresSequence = [measures]


def frame_turned(dataset):
    turned = pydicom.Dataset()
    turned.ImageOrientationPatient = [0.9998, 0.02, 0, -0.02, 0.9998, 0]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PlaneOrientationSequence = dataset.SharedFunctionalGroupsSequence[
            0
        ].PlaneOrientationSequence
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    dataset.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence = [turned]


@pytest.mark.parametrize("change", [frame_moved, frame_of_other_spacing, frame_turned])
def test_every_frame_lies_on_the_grid_or_is_named(tmp_path, change):
    with pytest.raises(GeometryError, match=r"frame \d of 3 lies .* mm off the grid") as caught:
        read_labels(changed(tmp_path, change))
    assert caught.value.code == "OFF_GRID"


@pytest.mark.parametrize(
    ("stored", "color"),
    [
        ((19375, 50449, 4099), (0, 34, 254)),
        ((0, 32768, 32768), (0, 0, 0)),
        ((65535, 0, 65535), (0, 255, 0)),
    ],
)
def test_a_colour_outside_of_rgb_is_clipped(tmp_path, stored, color):
    def change(dataset):
        dataset.SegmentSequence[0].RecommendedDisplayCIELabValue = list(stored)

    labels = read_labels(changed(tmp_path, change))
    np.testing.assert_allclose(labels.table.labels[0].color, color, atol=2)


def test_every_colour_comes_back(tmp_path):
    rng = np.random.default_rng(3)
    for color in rng.integers(0, 256, (50, 3)).tolist():
        stored = highdicom.color.CIELabColor.from_rgb(*color).value
        np.testing.assert_allclose(rgb_of_cielab(stored), color, atol=1)


@pytest.mark.parametrize(
    ("sequence", "keyword", "values"),
    [
        ("FrameContentSequence", "TemporalPositionIndex", (1, 2)),
        ("TemporalPositionSequence", "TemporalPositionTimeOffset", (0.0, 12.5)),
        ("DerivationImageSequence", "DerivationDescription", ("early", "late")),
    ],
)
def test_frames_that_anything_tells_apart_are_no_union(tmp_path, sequence, keyword, values):
    def change(dataset):
        groups = dataset.PerFrameFunctionalGroupsSequence
        later = copy.deepcopy(list(groups))
        for value, half in zip(values, (groups, later), strict=True):
            for group in half:
                item = group[sequence].value[0] if sequence in group else pydicom.Dataset()
                setattr(item, keyword, value)
                setattr(group, sequence, [item])
        dataset.PerFrameFunctionalGroupsSequence = [*groups, *later]
        dataset.NumberOfFrames = 6
        bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
        packed = np.packbits(np.tile(bits[:189], 2), bitorder="little").tobytes()
        dataset.PixelData = packed + b"\0" * (len(packed) % 2)

    with pytest.raises(LabelError, match=keyword) as caught:
        read_labels(changed(tmp_path, change))
    assert caught.value.code == "SEVERAL_VOLUMES"


def sparse_values():
    values = np.zeros((6, 9, 7), np.uint8)
    values[[0, 4], 2:5, 1:6] = 1
    return values


def without(*keywords):
    def change(dataset):
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        for keyword in keywords:
            measures.pop(keyword, None)

    return change


def test_the_depth_of_a_slice_is_not_the_gap_to_the_next_stored_one(tmp_path):
    path = changed(tmp_path, without("SpacingBetweenSlices"), values=sparse_values())
    labels = read_labels(path)
    assert labels.grid.spacing_mm == pytest.approx((0.4, 0.7, 2.5))
    assert any("SliceThickness" in note for note in labels.provenance.notes)
    on_scan = read_labels(path, like=read_scan(tmp_path / "ct"))
    assert np.array_equal(on_scan.values, sparse_values().transpose(2, 1, 0))


def test_slices_of_unknown_depth_need_the_scan(tmp_path):
    path = changed(
        tmp_path, without("SpacingBetweenSlices", "SliceThickness"), values=sparse_values()
    )
    with pytest.raises(GeometryError, match="--like") as caught:
        read_labels(path)
    assert caught.value.code == "UNKNOWN_DEPTH"
    on_scan = read_labels(path, like=read_scan(tmp_path / "ct"))
    assert np.array_equal(on_scan.values, sparse_values().transpose(2, 1, 0))


def test_another_frame_of_reference_is_told(tmp_path):
    def change(dataset):
        dataset.FrameOfReferenceUID = pydicom.uid.generate_uid()

    path = changed(tmp_path, change)
    labels = read_labels(path, like=read_scan(tmp_path / "ct"))
    assert any("frames of reference" in note for note in labels.provenance.notes)


def test_slices_thicker_than_they_are_apart_lie_as_the_images_do(tmp_path):
    values = np.zeros((6, 9, 7), np.uint8)
    values[[0, 2, 4], 2:5, 1:6] = 1

    def change(dataset):
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.pop("SpacingBetweenSlices", None)
        measures.SliceThickness = "5"
        groups = dataset.PerFrameFunctionalGroupsSequence
        for k, group in zip((0, 2, 4), groups, strict=True):
            image = pydicom.Dataset()
            image.ReferencedSOPInstanceUID = f"1.2.{k + 1}"
            derivation = pydicom.Dataset()
            derivation.SourceImageSequence = [image]
            group.DerivationImageSequence = [derivation]
        listed = [pydicom.Dataset() for _ in range(6)]
        for k, image in enumerate(listed):
            image.ReferencedSOPInstanceUID = f"1.2.{k + 1}"
        dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = listed

    labels = read_labels(changed(tmp_path, change, values=values))
    assert labels.grid.spacing_mm == pytest.approx((0.4, 0.7, 2.5))
    assert labels.grid.shape[2] == 5
    assert any("list of images" in note for note in labels.provenance.notes)


def of_another_number(dataset):
    dataset.SegmentSequence[0].SegmentNumber = 7


def of_no_number(dataset):
    groups = dataset.PerFrameFunctionalGroupsSequence
    del groups[1].SegmentIdentificationSequence[0].ReferencedSegmentNumber


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_another_number, "segment 1, which it does not describe"),
        (of_no_number, "frame 2 does not say which segment"),
        (lambda dataset: delattr(dataset, "PixelData"), "no PixelData"),
        (lambda dataset: delattr(dataset, "BitsAllocated"), "no BitsAllocated"),
        (lambda dataset: setattr(dataset, "HighBit", 3), "HighBit"),
    ],
)
def test_what_a_file_does_not_describe_is_never_background(tmp_path, change, words):
    with pytest.raises(ReadError, match=words):
        read_labels(changed(tmp_path, change))
