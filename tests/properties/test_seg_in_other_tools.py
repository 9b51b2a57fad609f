"""A SEG of a tilted CT and of real CT means the same to highdicom, SimpleITK and dcmqi."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_oracle import LPS_TO_RAS, even_run
from medseg.errors import GeometryError
from medseg.reading import read_labels, read_scan
from medseg.volume import LabelMap, LabelTable
from medseg.writing import write_labels
from mutations import write_plain, write_tilted

TABLE = LabelTable.of({2: "liver", 7: "cyst"})
TILTED = ["ct_ge_tilt", "gantrytilting", "tilted phantom"]
UPRIGHT = ["ct-3slice", "oblique phantom"]


def source(name: str, request: pytest.FixtureRequest, folder: Path) -> Path:
    """The folder of a CT; real ones are skipped where they are absent."""
    if name.endswith("phantom"):
        (write_tilted if name.startswith("tilted") else write_plain)(folder)
        return folder
    data = request.getfixturevalue("shared_data")
    if name == "ct_ge_tilt":  # its gaps vary: the part that is one even stack
        folder.mkdir()
        for path in even_run(data / "dicom_vendor_qa" / "ct_ge_tilt_variable_gap" / "In"):
            shutil.copyfile(path, folder / path.name)
        return folder
    inner = {"gantrytilting": "dicom2nifti_tests/failing/gantrytilting/001"}
    return data / inner.get(name, f"dicom_seg_rtstruct/dcmqi/{name}")


def labelled(scan, seed=0) -> LabelMap:
    """Boxes of both labels, different in every slice, and some lone voxels."""
    random = np.random.default_rng(seed)
    values = np.zeros(scan.grid.shape, np.uint8)
    for k in range(scan.grid.shape[2]):
        for label in (2, 7):
            i, j = random.integers(0, np.array(values.shape[:2]) // 2, 2)
            values[i : i + values.shape[0] // 3, j : j + values.shape[1] // 4, k] = label
        values[random.integers(values.shape[0]), random.integers(values.shape[1]), k] = 7
    return LabelMap(values, scan.grid, TABLE, scan.provenance)


@pytest.fixture(params=TILTED + UPRIGHT)
def seg(request, tmp_path):
    scan = read_scan(source(request.param, request, tmp_path / "ct"))
    labels = labelled(scan)
    return write_labels(labels, tmp_path / "seg.dcm"), labels, request.param in TILTED


def test_medseg_finds_every_label(seg):
    path, labels, tilted = seg
    back = read_labels(path)
    assert np.array_equal(back.values, labels.values)
    assert back.grid.same_as(labels.grid, tolerance_mm=0.01)
    assert (labels.grid.shear_degrees > 10) == tilted


def test_highdicom_finds_each_label_on_its_source_slice(seg):
    path, labels, _ = seg
    frames = highdicom.seg.segread(path).get_pixels_by_source_instance(
        source_sop_instance_uids=labels.provenance.instance_uids,
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    truth = np.select([labels.values == 2, labels.values == 7], [1, 2]).transpose(2, 1, 0)
    assert np.array_equal(frames, truth)


def test_simpleitk_finds_the_frames(seg):
    """It gives the frames one after another; the header says which is where."""
    path, labels, _ = seg
    frames = sitk.GetArrayFromImage(sitk.ReadImage(path)) > 0
    ds = pydicom.dcmread(path)
    found = np.zeros_like(labels.values)
    for frame, own in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        number = own.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float) * LPS_TO_RAS
        index = labels.grid.to_index(place)
        np.testing.assert_allclose(index[:2], 0, atol=1e-3)
        assert index[2] == pytest.approx(round(index[2]), abs=1e-3)
        found[..., round(index[2])][frame.T] = (0, 2, 7)[number]
    assert np.array_equal(found, labels.values)


@pytest.fixture
def dcmqi():
    """dcmqi's program, of its package or of the system."""
    beside = Path(sys.executable).parent / "segimage2itkimage"
    program = str(beside) if beside.exists() else shutil.which("segimage2itkimage")
    if program is None:
        pytest.skip("dcmqi is not installed (pip install dcmqi)")
    return program


def test_dcmqi_finds_the_labels_or_refuses(seg, dcmqi, tmp_path):
    path, labels, tilted = seg
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        [dcmqi, "--inputDICOM", str(path), "--outputDirectory", str(out), "-t", "nrrd"],
        capture_output=True,
        text=True,
        check=False,
    )
    images = sorted(out.glob("*.nrrd"))
    if tilted:  # its images cannot be sheared
        assert done.returncode or not images
        return
    assert done.returncode == 0, done.stdout + done.stderr
    found = np.zeros_like(labels.values)
    for image in map(sitk.ReadImage, images):
        array = sitk.GetArrayFromImage(image)
        at = np.argwhere(array)
        turned = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        places = at[:, ::-1] @ turned.T + image.GetOrigin()
        index = labels.grid.to_index(places * LPS_TO_RAS)
        near = np.round(index).astype(int)
        np.testing.assert_allclose(index, near, atol=0.01)
        found[tuple(near.T)] = np.array([0, 2, 7])[array[tuple(at.T)]]
    assert np.array_equal(found, labels.values)


def test_the_whole_tilted_ct_with_uneven_gaps_is_refused(shared_data):
    with pytest.raises(GeometryError) as caught:
        read_scan(shared_data / "dicom_vendor_qa" / "ct_ge_tilt_variable_gap" / "In")
    assert caught.value.code == "IRREGULAR"
