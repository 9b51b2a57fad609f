"""Labels of a repaired scan go home: DICOM results lie on the files' own slices, uneven or not."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_phantom import Series, random_stored, rotation, save
from medseg.errors import WriteError
from medseg.reading import Policies, read_scan
from medseg.volume import LabelMap, LabelTable
from medseg.writing import write_labels
from writing.dicom_validator import errors_of

REPAIR = Policies(irregular="resample", missing="interpolate")
TABLE = LabelTable.of({2: "liver", 7: "cyst"})
TURN = rotation((1.0, 0.2, -0.1, 0.3))


def ellipsoids(lps_mm, centre, radii):
    """Label values at places (..., 3): 7 within half of the radii, else 2 within the radii."""
    apart = (((lps_mm - centre) / radii) ** 2).sum(-1)
    return np.where(apart <= 0.25, 7, np.where(apart <= 1, 2, 0)).astype(np.uint8)


def voxel_places(grid):
    """LPS+ mm of every voxel, by the affine written out; shape (I, J, K, 3)."""
    i, j, k = np.meshgrid(*map(np.arange, grid.shape), indexing="ij")
    ras = np.stack([i, j, k, np.ones_like(i)], -1) @ grid.affine.T
    return ras[..., :3] * [-1, -1, 1]


def pixel_places(ds):
    """LPS+ mm of every pixel of a slice by PS3.3 C.7.6.2.1.1; shape (J, I, 3)."""
    rows, columns = np.mgrid[: ds.Rows, : ds.Columns]
    row, column = np.reshape(ds.ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = map(float, ds.PixelSpacing)
    place = np.array(ds.ImagePositionPatient, float)
    place = place + rows[..., None] * column * between_rows
    return place + columns[..., None] * row * between_columns


def sources_of(result):
    return [pydicom.dcmread(path) for path in result.provenance.native.files]


def frames_by_source(path, sources):
    """Label values per source image, shape (n, J, I), as highdicom reads them."""
    numbers = highdicom.seg.segread(path).get_pixels_by_source_instance(
        source_sop_instance_uids=[ds.SOPInstanceUID for ds in sources],
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    return np.array([0, 2, 7], np.uint8)[numbers]


def check_places(path, sources):
    """Every frame has the plane position, word by word, of the source image it names."""
    words = {ds.SOPInstanceUID: list(map(str, ds.ImagePositionPatient)) for ds in sources}
    dataset = pydicom.dcmread(path)
    named = set()
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        (derivation,) = frame.DerivationImageSequence
        (source,) = derivation.SourceImageSequence
        own = list(map(str, frame.PlanePositionSequence[0].ImagePositionPatient))
        assert own == words[source.ReferencedSOPInstanceUID]
        named.add(source.ReferencedSOPInstanceUID)
    assert named == set(words)
    assert "carried" in dataset.ContentDescription


def write_uneven(folder, tilt_mm=0.9):
    """Oblique slices at uneven distances, each moved in its plane."""
    depths = np.array([0, 2.0, 4.0, 5.5, 7.5, 10.0, 12.0])
    sideways = np.array([0, 0.1, 0.2, 0.9, 0.4, 0.5, 0.6]) * tilt_mm + depths * 0.3
    base = Series(random_stored((7, 12, 10)), orientation=TURN[:, :2].T.ravel())
    folder.mkdir(exist_ok=True)
    for k, (depth, aside) in enumerate(zip(depths, sideways, strict=True)):
        ds = base.slice(k)
        place = depth * TURN[:, 2] + aside * TURN[:, 1] + [5, -7, 11]
        ds.ImagePositionPatient = [float(f"{x:.9g}") for x in place]
        save(ds, folder / str(k))
    return folder


def labelled(folder):
    scan = read_scan(folder, policies=REPAIR)
    places = voxel_places(scan.grid)
    low, high = places.min(axis=(0, 1, 2)), places.max(axis=(0, 1, 2))
    values = ellipsoids(places, (low + high) / 2, (high - low) / 2.1)
    return LabelMap(values, scan.grid, TABLE, scan.provenance)


def held(labels, ds):
    """The label of the voxel that holds each pixel, found by solving; shape (J, I)."""
    ras = pixel_places(ds) * [-1, -1, 1]
    there = np.linalg.solve(
        labels.grid.affine[:3, :3], (ras - labels.grid.affine[:3, 3])[..., None]
    )
    out = np.zeros(ras.shape[:2], np.uint8)
    for pixel in np.ndindex(out.shape):
        index = np.rint(there[pixel][:, 0]).astype(int)
        if (index >= 0).all() and (index < labels.grid.shape).all():
            out[pixel] = labels.values[tuple(index)]
    return out


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
def test_uneven_tilted_oblique_slices(tmp_path, encoding):
    labels = labelled(write_uneven(tmp_path / "ct"))
    path = write_labels(labels, tmp_path / "a.dcm", encoding=encoding)
    sources = sources_of(labels)
    truth = np.array([held(labels, ds) for ds in sources])
    assert {0, 2, 7} == set(np.unique(truth))
    assert np.array_equal(frames_by_source(path, sources), truth)
    if encoding == "binary":
        check_places(path, sources)
        assert errors_of(path) == []


def test_slices_that_were_there_keep_their_labels(tmp_path):
    """Where slices were only missing, nothing moves: those that are there are as labelled."""
    series = Series(random_stored((12, 9, 7)), step_mm=np.array([0, 0.8, 3.0]))
    series.write(tmp_path / "ct", skip=(2, 5, 6))
    scan = read_scan(tmp_path / "ct", policies=REPAIR)
    values = np.random.default_rng(0).choice([0, 0, 2, 7], scan.grid.shape).astype(np.uint8)
    labels = LabelMap(values, scan.grid, TABLE, scan.provenance)
    path = write_labels(labels, tmp_path / "a.dcm")
    kept = values[..., [0, 1, 3, 4, 7, 8, 9, 10, 11]].transpose(2, 1, 0)
    assert np.array_equal(frames_by_source(path, sources_of(labels)), kept)
    check_places(path, sources_of(labels))


def test_contours_lie_on_the_uneven_slices(tmp_path):
    from matplotlib.path import Path as Outline

    labels = labelled(write_uneven(tmp_path / "ct"))
    path = write_labels(labels, tmp_path / "a.rtstruct.dcm")
    sources = {ds.SOPInstanceUID: ds for ds in sources_of(labels)}
    drawn = {uid: np.zeros((12, 10), np.uint8) for uid in sources}
    dataset = pydicom.dcmread(path)
    assert "Carried" in dataset.StructureSetDescription
    assert errors_of(path) == []
    for region in dataset.ROIContourSequence:
        for contour in region.ContourSequence:
            (image,) = contour.ContourImageSequence
            ds = sources[image.ReferencedSOPInstanceUID]
            points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
            offset = (points - np.array(ds.ImagePositionPatient, float)) @ TURN
            assert np.abs(offset[:, 2]).max() < 1e-4
            pixels = (pixel_places(ds) - np.array(ds.ImagePositionPatient, float)) @ TURN
            inside = Outline(offset[:, :2]).contains_points(pixels[..., :2].reshape(-1, 2))
            inside = inside.reshape(12, 10)
            drawn[ds.SOPInstanceUID][inside] += np.uint8(region.ReferencedROINumber)
    for uid, ds in sources.items():
        assert np.array_equal(drawn[uid], held(labels, ds))


def test_a_report_refers_to_the_segmentation(tmp_path):
    labels = labelled(write_uneven(tmp_path / "ct"))
    seg = pydicom.dcmread(write_labels(labels, tmp_path / "a.dcm"))
    report = pydicom.dcmread(write_labels(labels, tmp_path / "a.sr.dcm"))
    assert str(seg.SOPInstanceUID) in str(report)


def test_blank_uids_are_still_refused(tmp_path):
    folder = write_uneven(tmp_path / "ct")
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ""
        ds.save_as(path, enforce_file_format=False)
    with pytest.raises(WriteError) as caught:
        write_labels(labelled(folder), tmp_path / "a.dcm")
    assert caught.value.code == "BLANK_UIDS"


def test_a_source_slice_that_moved_is_refused(tmp_path):
    """The frames copy the headers that are there now; they must be those that were read."""
    labels = labelled(write_uneven(tmp_path / "ct"))
    ds = pydicom.dcmread(labels.provenance.native.files[3])
    ds.ImagePositionPatient = [float(x) + 0.5 for x in ds.ImagePositionPatient]
    save(ds, labels.provenance.native.files[3])
    with pytest.raises(WriteError) as caught:
        write_labels(labels, tmp_path / "a.dcm")
    assert caught.value.code == "SELF_CHECK"
    assert not (tmp_path / "a.dcm").exists()


def test_real_tilted_ct_round_trips_per_source_slice(shared_data, tmp_path):
    """GE, tilted by 18.5 degrees, 1.1 to 7 mm apart; its slices follow one another along z."""
    folder = shared_data / "dicom_vendor_qa/ct_ge_tilt_variable_gap/In"
    scan = read_scan(folder, policies=REPAIR)
    sources = sources_of(scan)
    heights = np.array([float(ds.ImagePositionPatient[2]) for ds in sources])
    centre, radii = pixel_places(sources[14])[250, 261], np.array([71.37, 88.91, 47.53])
    places = voxel_places(scan.grid)
    labels = LabelMap(ellipsoids(places, centre, radii), scan.grid, TABLE, scan.provenance)
    path = write_labels(labels, tmp_path / "a.dcm")
    step = (heights[-1] - heights[0]) / (scan.grid.shape[2] - 1)
    even = heights[0] + np.rint((heights - heights[0]) / step) * step
    truth = [
        ellipsoids(pixel_places(ds) + np.array([0, 0, new - own]), centre, radii)
        for ds, own, new in zip(sources, heights, even, strict=True)
    ]
    assert sum((one > 0).any() for one in truth) > 10
    assert np.array_equal(frames_by_source(path, sources), np.array(truth))
    check_places(path, sources)
