"""Other people's DICOM: exact geometry against the headers, or the refusal that is expected."""

from __future__ import annotations

import functools

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg.errors import InputError
from medseg.reading import read_scan
from medseg.reading.dicom.series import list_stacks, read_stack
from medseg.volume import Grid

READABLE = {
    "dicom2nifti_tests/failing/gantrytilting/001": 1,
    "dicom2nifti_tests/failing/slicecount/001": 1,
    "dicom2nifti_tests/failing/sliceorientation/001": 2,
    "dicom2nifti_tests/generic/anatomical/002_non_isotropic": 1,
    "dicom2nifti_tests/generic/compressed_jpeg/001": 1,
    "dicom2nifti_tests/generic/compressed_rle/001": 1,
    "dicom2nifti_tests/hitachi/anatomical/001": 1,
    "dicom2nifti_tests/hyperfine/anatomical/001": 1,
    "dicom2nifti_tests/siemens_multiframe/anatomical/001": 1,
    "dicom_vendor_qa/mr_agfa_private_tags/Agfa": 1,
    "dicom_vendor_qa/mr_agfa_private_tags/Siemens": 1,
    "dicom_vendor_qa/mr_enhanced_philips_fieldmap/In": 2,
    "dicom_vendor_qa/mr_enhanced_siemens_xa10/In": 4,
    "hippocampus_dicom_crops": 2,
    "ct_mr_organs/example_ct_dicom": 1,
    "dicom_seg_rtstruct/dcmqi/ct-3slice": 1,
    "dicom_seg_rtstruct/dcmqi/23x38x3/image": 1,
    "dicom_seg_rtstruct/dcmqi/23x38x3/multiframe": 1,
}
REFUSED = {
    "dicom_vendor_qa/ct_ge_tilt_variable_gap/In": "IRREGULAR",
    "dicom2nifti_tests/failing/sliceincrement/001": "MISSING_SLICE",
    "dicom2nifti_tests/failing/sliceorientation/001": "NEEDS_SELECTION",
    "dicom_vendor_qa/mr_enhanced_siemens_xa10/In": "NEEDS_SELECTION",
}
TRUTHS = [
    "failing/slicecount/001",
    "generic/anatomical/002_non_isotropic",
    "generic/compressed_jpeg/001",
    "generic/compressed_rle/001",
    "hitachi/anatomical/001",
    "hyperfine/anatomical/001",
    "siemens_multiframe/anatomical/001",
]


@functools.lru_cache(maxsize=2)
def dataset(path):
    """The file, read once for all of its frames; pydicom keeps its decoded pixels."""
    return pydicom.dcmread(path)


def frame_header(path, number):
    """Position, orientation, spacing, slope and intercept of a frame, apart from the reader."""
    ds = dataset(path)
    own, shared = ds, pydicom.Dataset()
    if "PerFrameFunctionalGroupsSequence" in ds:
        own = ds.PerFrameFunctionalGroupsSequence[number]
        shared = ds.get("SharedFunctionalGroupsSequence", [shared])[0]

    def item(name):
        sequence = own.get(name) or shared.get(name)
        return sequence[0] if sequence else ds

    values = item("PixelValueTransformationSequence")
    return (
        np.array(item("PlanePositionSequence").ImagePositionPatient, float),
        np.reshape(item("PlaneOrientationSequence").ImageOrientationPatient, (2, 3)).astype(float),
        item("PixelMeasuresSequence").PixelSpacing,
        (float(values.get("RescaleSlope", 1)), float(values.get("RescaleIntercept", 0))),
    )


def assert_places(scan, stack, random):
    """The oracle: pixels (r, c) of every frame, by the formula, are there with their value."""
    for k, frame in enumerate(stack.frames):
        ds = dataset(frame.file.path)
        position, (row, column), spacing, (slope, intercept) = frame_header(
            frame.file.path, frame.number
        )
        pixels = np.reshape(ds.pixel_array, (-1, ds.Rows, ds.Columns))[frame.number]
        corners = [(r, c) for r in (0, ds.Rows - 1) for c in (0, ds.Columns - 1)]
        inside = [(random.integers(ds.Rows), random.integers(ds.Columns)) for _ in range(20)]
        for r, c in corners + inside:
            place = position + row * spacing[1] * c + column * spacing[0] * r
            index = scan.grid.to_index(place * [-1, -1, 1])
            np.testing.assert_allclose(index, (c, r, k), atol=0.01)
            if pixels[r, c] != ds.get("PixelPaddingValue"):
                value = pixels[r, c] * slope + intercept
                assert scan.voxels[0, c, r, k] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("folder", READABLE)
def test_every_pixel_lies_where_its_header_says(shared_data, folder):
    stacks = list_stacks(shared_data / folder)
    assert len(stacks) == READABLE[folder]
    for stack in stacks:
        assert_places(read_stack(stack), stack, np.random.default_rng(0))


@pytest.mark.parametrize("folder", REFUSED)
def test_refused_with_the_expected_code(shared_data, folder):
    with pytest.raises(InputError) as caught:
        read_scan(shared_data / folder)
    assert caught.value.code == REFUSED[folder]


@pytest.mark.parametrize("folder", TRUTHS)
def test_equal_to_the_reference_nifti(shared_data, folder):
    scan = read_scan(shared_data / "dicom2nifti_tests" / folder)
    assert_same_volume(
        scan, nib.load(f"{shared_data}/dicom2nifti_tests/{folder}_ground_truth.nii.gz")
    )


def assert_same_volume(scan, reference, *, volume=None):
    """Same voxels at the same places, whatever axes the reference runs along."""
    truth = np.asarray(reference.dataobj)
    truth = truth if volume is None else truth[..., volume]
    corners = scan.grid.corners_mm()
    other = Grid(truth.shape[:3], reference.affine)
    index = other.to_index(corners)
    np.testing.assert_allclose(index, np.round(index), atol=0.02)
    order = np.abs(np.linalg.inv(reference.affine[:3, :3]) @ scan.grid.affine[:3, :3]).argmax(
        axis=0
    )
    turned = truth.transpose(order)
    start = np.round(index[0]).astype(int)[order]
    flips = tuple(slice(None, None, 1 if at == 0 else -1) for at in start)
    np.testing.assert_allclose(scan.voxels[0], turned[flips], rtol=1e-4, atol=1e-3)


def test_enhanced_time_points_equal_the_reference(shared_data):
    folder = shared_data / "dicom_vendor_qa/mr_enhanced_siemens_xa10"
    reference = nib.load(folder / "Ref/Siemens_REST1_w_SMS_PF7-8_6.nii.gz")
    stacks = list_stacks(folder / "In")
    for volume, stack in enumerate(stacks):
        assert_same_volume(read_stack(stack), reference, volume=volume)


def test_philips_magnitude_correlates_with_the_reference(shared_data):
    folder = shared_data / "dicom_vendor_qa/mr_enhanced_philips_fieldmap"
    reference = nib.load(folder / "Ref/Philips_WIP_B0_NS_801_e1.nii.gz")
    truth = np.asarray(reference.dataobj)
    correlations = []
    for stack in list_stacks(folder / "In"):
        scan = read_stack(stack)
        index = Grid(truth.shape, reference.affine).to_index(scan.grid.corners_mm())
        np.testing.assert_allclose(index, np.round(index), atol=0.02)
        flips = tuple(slice(None, None, 1 if at < 1 else -1) for at in np.round(index[0]))
        correlations.append(np.corrcoef(scan.voxels[0].ravel(), truth[flips].ravel())[0, 1])
    assert max(correlations) > 0.999


def test_colour_slices_are_as_pydicom_decodes_them(shared_data):
    (stack,) = list_stacks(shared_data / "dicom2nifti_tests/generic/rgb/001")
    scan = read_stack(stack)
    assert scan.channels == 3
    for k, path in enumerate(stack.paths):
        pixels = pydicom.dcmread(path).pixel_array
        assert np.array_equal(scan.voxels[..., k], pixels.transpose(2, 1, 0))


def test_agfa_copy_equals_the_original(shared_data):
    folder = shared_data / "dicom_vendor_qa/mr_agfa_private_tags"
    one, two = read_scan(folder / "Agfa"), read_scan(folder / "Siemens")
    assert np.array_equal(one.voxels, two.voxels)
    assert one.grid.same_as(two.grid)


def test_over_anonymised_ct_lies_under_its_labels(shared_data):
    folder = shared_data / "ct_mr_organs"
    scan = read_scan(folder / "example_ct_dicom")
    labels = nib.load(folder / "example_seg_dicom.nii.gz")
    index = Grid(labels.shape, labels.affine).to_index(scan.grid.corners_mm())
    np.testing.assert_allclose(index, np.round(index), atol=0.02)
    assert any("blank" in note for note in scan.provenance.notes)


@pytest.mark.parametrize(
    ("folder", "truth"),
    [
        ("mr_siemens_mosaic_orientation/In/ax", "mr_siemens_mosaic_orientation/Ref/ax_asc_36sl_9"),
        (
            "mr_siemens_mosaic_orientation/In/cor",
            "mr_siemens_mosaic_orientation/Ref/cor_asc_36sl_13",
        ),
        (
            "mr_siemens_mosaic_orientation/In/sag",
            "mr_siemens_mosaic_orientation/Ref/sag_asc_36sl_19",
        ),
    ],
)
def test_mosaics_equal_their_reference(shared_data, folder, truth):
    root = shared_data / "dicom_vendor_qa"
    reference = nib.load(root / f"{truth}.nii.gz")
    expected = np.asarray(reference.dataobj)
    stacks = list_stacks(root / folder)
    for time, stack in enumerate(stacks):
        scan = read_stack(stack)
        index = np.indices(scan.grid.shape).reshape(3, -1).T
        to_index = np.linalg.inv(reference.affine) @ scan.grid.affine
        placed = index @ to_index[:3, :3].T + to_index[:3, 3]
        assert np.abs(placed - np.rint(placed)).max() < 1e-3
        there = tuple(np.rint(placed).astype(int).T)
        assert np.array_equal(expected[(*there, time)], scan.voxels[0].ravel())
