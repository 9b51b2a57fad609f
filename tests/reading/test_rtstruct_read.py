"""RT Structure Sets of other programs: holes, keyholes, empty ROIs, slices that are not there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Polygon
from pydicom import Dataset

from dicom_phantom import Series, random_stored, save
from medseg.errors import Cancelled, GeometryError, LabelError, ReadError
from medseg.reading import read_labels, read_scan
from medseg.reading.dicom.polygons import filled as filled_by
from medseg.reading.dicom.rtstruct import read_labels_on
from medseg.volume import Grid, LabelTable, Scan
from medseg.volume.conventions import affine_from_dicom

SERIES = Series(random_stored((4, 16, 14)))


def item(**fields):
    dataset = Dataset()
    for keyword, value in fields.items():
        setattr(dataset, keyword, value)
    return dataset


def structure_set(folder, regions):
    """A structure set beside a series; regions give rings of (i, j, k) by name."""
    folder.mkdir(exist_ok=True)
    paths = SERIES.write(folder)
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    dataset = SERIES.slice(0)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
        "1.2.840.10008.5.1.4.1.1.481.3"
    )
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", pydicom.uid.generate_uid()
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, rings) in enumerate(regions.items(), start=1):
        dataset.StructureSetROISequence.append(item(ROINumber=number, ROIName=name))
        roi = item(ReferencedROINumber=number)
        if rings:
            roi.ContourSequence = [contour(ring, uids) for ring in rings]
        dataset.ROIContourSequence.append(roi)
    return save(dataset, folder / "rtss.dcm")


def contour(ring, uids):
    lps = [SERIES.world(*index) * [-1, -1, 1] for index in ring]
    text = [f"{mm:.6g}" for mm in np.ravel(lps)]
    image = item(ReferencedSOPInstanceUID=uids[round(ring[0][2]) % len(uids)])
    kind = "CLOSED_PLANAR" if len(ring) > 1 else "POINT"
    return item(ContourGeometricType=kind, ContourData=text, ContourImageSequence=[image])


def square(first, last, k):
    return [(first, first, k), (last, first, k), (last, last, k), (first, last, k)]


def filled(first, last):
    plane = np.zeros((14, 16), bool)
    plane[first : last + 1, first : last + 1] = True
    return plane


def by_matplotlib(path, name, grid):
    """Pixels of a ROI by another program's point-in-polygon; away from contours by 0.01 pixel."""
    dataset = pydicom.dcmread(path)
    number = next(r.ROINumber for r in dataset.StructureSetROISequence if r.ROIName == name)
    roi = next(r for r in dataset.ROIContourSequence if r.ReferencedROINumber == number)
    inside = np.zeros(grid.shape, bool)
    sure = np.ones(grid.shape, bool)
    for one in roi.ContourSequence:
        points = np.reshape(np.array(one.ContourData, float), (-1, 3)) * [-1, -1, 1]
        index = grid.to_index(points)
        k = round(index[0, 2])
        low, high = index[:, :2].min(0).astype(int) - 1, index[:, :2].max(0).astype(int) + 2
        spans = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
        centres = np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, 2)
        held, wide, tight = (
            Polygon(index[:, :2], closed=False).contains_points(centres, radius=radius)
            for radius in (0, 0.02, -0.02)
        )
        inside[(*centres.T, k)] ^= held
        sure[(*centres.T, k)] &= wide == tight
    return inside, sure


def test_holes_empty_regions_and_slices_without_contours(tmp_path):
    hole = [square(1.5, 11.5, 1), square(3.5, 7.5, 1)]
    path = structure_set(tmp_path / "a", {"ring": hole, "none": [], "dot": [[(2, 2, 0)]]})
    labels = read_labels(path)
    assert labels.table.names == ("ring", "none", "dot")
    assert np.array_equal(labels.values[:, :, 1] == 1, filled(2, 11) & ~filled(4, 7))
    assert not labels.values[:, :, [0, 2, 3]].any()
    assert "1 contour(s)" in labels.provenance.notes[-2]
    assert labels.provenance.notes[-1] == "without closed contours: none, dot"


def test_a_keyhole_is_a_hole(tmp_path):
    outer, inner = square(1.5, 11.5, 0), square(3.5, 7.5, 0)
    ring = [*outer, outer[0], *inner, inner[0]]
    path = structure_set(tmp_path / "a", {"ring": [ring]})
    assert np.array_equal(read_labels(path).values[:, :, 0] > 0, filled(2, 11) & ~filled(4, 7))


def test_pixels_on_the_line_belong_to_it(tmp_path):
    path = structure_set(tmp_path / "a", {"box": [square(3, 6, 0)]})
    assert np.array_equal(read_labels(path).values[:, :, 0] > 0, filled(3, 6))


def test_contours_beyond_the_picture_are_cut_at_its_edge(tmp_path):
    path = structure_set(tmp_path / "a", {"big": [square(-5.5, 40.5, 3)]})
    assert read_labels(path).values[:, :, 3].all()


@pytest.mark.timeout(20)
def test_contours_as_large_as_numbers_go(tmp_path):
    """Neither memory nor time grows with how far the points lie outside."""
    path = structure_set(tmp_path / "a", {"huge": [square(-1e9, 1e9, 3)]})
    assert read_labels(path).values[:, :, 3].all()
    far = [np.array([(-1e300, -1e300), (1e300, -1e300), (1e300, 1e300), (-1e300, 1e300)])]
    assert filled_by(far, (14, 16)).all()
    assert not filled_by([far[0][:2] * [1, 1e-300]], (14, 16)).any()


@pytest.mark.parametrize(
    ("k", "code"), [(6, "OUTSIDE_IMAGE"), (-1, "OUTSIDE_IMAGE"), (1.4, "OFF_SLICE")]
)
def test_contours_where_there_is_no_slice(tmp_path, k, code):
    path = structure_set(tmp_path / "a", {"one": [square(1.5, 4.5, k)]})
    with pytest.raises(GeometryError, match=r"rtss\.dcm") as caught:
        read_labels(path)
    assert caught.value.code == code


def test_overlap_is_refused_and_a_table_chooses(tmp_path):
    path = structure_set(
        tmp_path / "a", {"body": [square(0.5, 9.5, 0)], "liver": [square(2.5, 4.5, 0)]}
    )
    with pytest.raises(LabelError, match="overlaps") as caught:
        read_labels(path)
    assert caught.value.code == "OVERLAP"
    labels = read_labels(path, table=LabelTable.of({9: "liver"}))
    assert np.array_equal(labels.values[:, :, 0], 9 * filled(3, 4))
    with pytest.raises(LabelError, match="spleen"):
        read_labels(path, table=LabelTable.of({9: "spleen"}))


def test_regions_that_overlap_are_chosen_or_decided(tmp_path):
    path = structure_set(
        tmp_path / "a", {"body": [square(0.5, 9.5, 0)], "liver": [square(2.5, 4.5, 0)]}
    )
    body, liver = filled(1, 9), filled(3, 4)
    assert np.array_equal(read_labels(path, segments=["body"]).values[:, :, 0], body * 1)
    assert np.array_equal(read_labels(path, overlaps="last").values[:, :, 0], body * 1 + liver)
    first = read_labels(path, segments=[2, 1], overlaps="first", like=read_scan(tmp_path / "a"))
    assert np.array_equal(first.values[:, :, 0], body * 1 + liver)
    assert "body and liver" in first.provenance.notes[-1]
    assert "4 voxels" in first.provenance.notes[-1]


def test_a_structure_set_alone_needs_its_images(tmp_path):
    path = structure_set(tmp_path / "a", {"one": [square(1.5, 4.5, 2)]})
    (tmp_path / "b").mkdir()
    alone = path.rename(tmp_path / "b" / "alone.dcm")
    with pytest.raises(ReadError, match="images") as caught:
        read_labels(alone)
    assert caught.value.code == "NO_IMAGES"
    labels = read_labels_on(alone, scan=read_scan(tmp_path / "a"))
    assert np.array_equal(labels.values[:, :, 2] > 0, filled(2, 4))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_cut_file_is_a_read_error(tmp_path, share):
    path = structure_set(tmp_path / "a", {"one": [square(1.5, 4.5, 2)] * 20})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ReadError, match=r"rtss\.dcm"):
        read_labels(path)


def test_points_that_are_no_numbers(tmp_path):
    path = structure_set(tmp_path / "a", {"one": [square(1.5, 4.5, 2)]})
    content = path.read_bytes()
    place = content.index(b"-25\\")  # z of slice 2
    path.write_bytes(content[:place] + b"nan\\" + content[place + 4 :])
    with pytest.raises(ReadError, match="points"):
        read_labels(path)


def test_rt_utils_phantom(shared_data):
    path = shared_data / "dicom_seg_rtstruct/rt-utils/rt.dcm"
    labels = read_labels(path)
    inside, sure = by_matplotlib(path, "ROI-1", labels.grid)
    assert labels.table.names == ("ROI-1",)
    assert np.array_equal((labels.values > 0)[sure], inside[sure])
    assert sorted(labels.values.any((0, 1))) == [False, True]


def test_radiotherapy_plan_on_all_its_slices(shared_data):
    """The images are lost but for the top slice: its geometry, 97 slices further down."""
    folder = shared_data / "dicom_seg_rtstruct/dicompyler"
    with pytest.raises(GeometryError) as caught:
        read_labels(folder / "rtss.dcm")
    assert caught.value.code == "OUTSIDE_IMAGE"
    top = pydicom.dcmread(folder / "ct.0.dcm", stop_before_pixels=True)
    first = np.array(top.ImagePositionPatient, float) - [0, 0, 97 * 3.0]
    affine = affine_from_dicom(top.ImageOrientationPatient, top.PixelSpacing, first, (0, 0, 3.0))
    scan = Scan(np.zeros((1, 512, 512, 98), np.uint8), Grid((512, 512, 98), affine))
    table = LabelTable.of({1: "Heart", 2: "Tumor Bed", 3: "Areola"})
    with pytest.raises(LabelError, match="BODY"):
        read_labels_on(folder / "rtss.dcm", scan=scan, table=LabelTable.of({1: "Spleen"}))
    labels = read_labels_on(folder / "rtss.dcm", scan=scan, table=table)
    for value, name in ((1, "Heart"), (2, "Tumor Bed")):
        inside, sure = by_matplotlib(folder / "rtss.dcm", name, labels.grid)
        assert inside.sum() > 1000
        assert sure.mean() > 0.99
        assert np.array_equal((labels.values == value)[sure], inside[sure])
    assert not (labels.values == 3).any()


@pytest.mark.parametrize("segments", [(), ("liver",)])
def test_one_number_for_two_regions_is_refused(tmp_path, segments):
    path = structure_set(tmp_path, {"liver": [square(2, 5, 1)], "tumour": [square(7, 9, 1)]})
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[1].ROINumber = 1
    dataset.ROIContourSequence[1].ReferencedROINumber = 1
    dataset.save_as(path)
    with pytest.raises(LabelError, match="number 1 stands for liver and tumour"):
        read_labels(path, segments=segments)


def of_two_frames(folder):
    """Region `here` in the frame of reference of the series, region `there` in another."""
    path = structure_set(folder, {"here": [square(2, 5, 1)], "there": [square(7, 9, 1)]})
    dataset = pydicom.dcmread(path)
    frames = SERIES.frame_of_reference, pydicom.uid.generate_uid()
    for roi, frame in zip(dataset.StructureSetROISequence, frames, strict=True):
        roi.ReferencedFrameOfReferenceUID = frame
    dataset.save_as(path)
    return path


def test_regions_of_another_frame_of_reference_are_not_drawn(tmp_path):
    path = of_two_frames(tmp_path)
    for labels in (read_labels(path), read_labels(path, like=read_scan(tmp_path))):
        assert labels.table.names == ("here",)
        assert (labels.values > 0).sum() == 16
        assert any("there: of another frame" in note for note in labels.provenance.notes)
    with pytest.raises(LabelError, match="there: of another frame"):
        read_labels(path, segments=["there"])


def test_regions_of_another_frame_alone_count_only_on_the_images_that_are_named(tmp_path):
    path = of_two_frames(tmp_path)
    dataset = pydicom.dcmread(path)
    del dataset.StructureSetROISequence[0], dataset.ROIContourSequence[0]
    dataset.save_as(path)
    scan = read_scan(tmp_path)
    labels = read_labels(path, like=scan)
    assert (labels.values > 0).sum() == 9
    assert any("another frame of reference" in note for note in labels.provenance.notes)
    provenance = dataclasses.replace(scan.provenance, instance_uids=("1.2.3",))
    with pytest.raises(LabelError, match="does not refer") as caught:
        read_labels(path, like=dataclasses.replace(scan, provenance=provenance))
    assert caught.value.code == "FRAME_OF_REFERENCE"


def test_a_scan_of_no_frame_of_reference_takes_regions_of_one(tmp_path):
    path = of_two_frames(tmp_path)
    scan = read_scan(tmp_path)
    bare = Scan(scan.voxels, scan.grid)
    with pytest.raises(LabelError, match="several frames of reference"):
        read_labels(path, like=bare)
    assert (read_labels(path, like=bare, segments=["there"]).values > 0).sum() == 9


def test_the_window_of_a_contour_changes_no_pixel(tmp_path):
    rng = np.random.default_rng(5)
    for _ in range(60):
        ring = rng.uniform(-4, 18, (int(rng.integers(3, 9)), 2)).round(1)
        path = structure_set(tmp_path, {"a": [[(i, j, 1) for i, j in ring]]})
        labels = read_labels(path)
        assert np.array_equal(labels.values[..., 1] > 0, filled_by([ring], (14, 16)))


def test_regions_are_read_with_progress_and_can_be_stopped(tmp_path):
    path = structure_set(tmp_path, {"liver": [square(2, 5, 1)], "tumour": [square(7, 9, 1)]})
    steps = []
    for like in (None, read_scan(tmp_path)):
        steps.clear()
        read_labels(path, like=like, progress=lambda *step: steps.append(step))
        for message in ("reading contours", "drawing contours"):
            assert [step[:2] for step in steps if step[2] == message] == [(0, 2), (1, 2)]

    def stop(done, _total, message):
        if (done, message) == (1, "reading contours"):
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        read_labels(path, progress=stop)


def test_contours_of_no_region_are_refused(tmp_path):
    path = structure_set(tmp_path, {"liver": [square(2, 5, 1)], "tumour": [square(7, 9, 1)]})
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[1].ReferencedROINumber = 9
    dataset.save_as(path)
    with pytest.raises(LabelError, match="contours of ROI number 9"):
        read_labels(path)
