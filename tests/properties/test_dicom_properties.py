"""DICOM in any orientation, spacing, tilt and order of files: what the headers say, exactly."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from dicom_oracle import LPS_TO_RAS, Volume, frames_below, judge
from dicom_phantom import Series, random_stored, rotation, save
from medseg.errors import MedsegError
from medseg.reading import read_labels, read_scan
from medseg.reading.dicom.rtstruct import read_labels_on
from medseg.reading.dicom.series import list_stacks, read_stack
from medseg.volume import LabelMap, LabelTable
from medseg.writing import write_labels, write_scan

QUATERNIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
SPACING = st.floats(0.3, 5.0)
SYNTAXES = st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless])
TABLE = LabelTable.of({2: "liver", 7: "cyst"})


@st.composite
def series(draw: st.DrawFn) -> Series:
    """Oblique, anisotropic, tilted by up to 30 degrees, stacked up or down, rescaled per slice."""
    turn = rotation(draw(QUATERNIONS))
    shape = draw(st.tuples(st.integers(2, 6), st.integers(3, 6), st.integers(3, 6)))
    depth = draw(st.floats(0.5, 7.0)) * draw(st.sampled_from([1.0, -1.0]))
    tilt = np.radians(draw(st.one_of(st.just(0.0), st.floats(0.5, 30.0))))
    way = draw(st.floats(-np.pi, np.pi))
    across = np.tan(tilt) * np.array([np.cos(way), np.sin(way)])
    kind = draw(st.sampled_from([np.uint16, np.int16]))
    stored = np.random.default_rng(draw(st.integers(0, 2**16))).integers(-900, 3000, shape)
    slopes = draw(st.sampled_from([(1.0,), (2.0,), (1.0, 0.25), (0.5, 1.5, 3.0)]))
    return Series(
        (stored if kind is np.int16 else stored + 900).astype(kind),
        orientation=turn[:, :2].T.ravel(),
        pixel_spacing_mm=(draw(SPACING), draw(SPACING)),
        first_mm=np.array(draw(st.tuples(*[st.floats(-800, 800)] * 3))),
        step_mm=turn @ (depth * np.array([*across, 1.0])),
        slopes=slopes,
        intercept=draw(st.sampled_from([0.0, -1024.0, 0.5])),
    )


def write_shuffled(one: Series, folder: Path, syntax: str, seed: int) -> None:
    """Files in an order, with numbers and in folders that say nothing of where they lie."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(one.stored))
    for k, name in enumerate(order):
        ds = one.slice(k)
        ds.InstanceNumber = int(random.integers(1, 999))
        inner = folder / "abc"[int(random.integers(3))]
        inner.mkdir(exist_ok=True)
        if syntax == RLELossless:
            ds.compress(RLELossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = syntax
        save(ds, inner / f"{name:04d}")


def for_all(count: int, **drawn: st.SearchStrategy) -> Callable:
    """Run the body for `count` examples."""

    def run(body: Callable) -> None:
        settings(max_examples=count, deadline=None)(given(**drawn)(body))()

    return run


@pytest.mark.parametrize("count", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_series_and_their_copies_in_nifti(count):
    """The scan against the headers, and what nibabel finds in the file made of it."""

    @for_all(count, one=series(), syntax=SYNTAXES, seed=st.integers(0, 2**16))
    def holds(one, syntax, seed):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "dicom")
            folder.mkdir()
            write_shuffled(one, folder, syntax, seed)
            scan = read_scan(folder)
            copy = nib.load(write_scan(scan, Path(name, "a.nii")))
            frames = frames_below(folder)
            assert judge([Volume(scan.voxels[0], scan.grid.affine)], frames).exact
            assert judge([Volume(np.asarray(copy.dataobj), copy.affine)], frames).exact
        assert scan.grid.shape == one.stored.shape[::-1]


def _drop(ds, path, random):
    path.unlink()


def _copy(ds, path, random):
    save(ds, path.with_name(f"{path.name}copy"))


def _another_there(ds, path, random):
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PixelData = random.bytes(len(ds.PixelData))
    save(ds, path.with_name(f"{path.name}other"))


def _move(ds, path, random):
    far = random.choice([0.004, 0.06, 0.3, 4.0])
    position = np.array(ds.ImagePositionPatient, float) + random.uniform(-far, far, 3)
    ds.ImagePositionPatient = [f"{x:.9f}" for x in position]
    save(ds, path)


def _turn(ds, path, random):
    far = random.choice([1e-5, 1e-3, 0.05])
    directions = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    row, column = directions @ rotation((1, *random.uniform(-far, far, 3))).T
    ds.ImageOrientationPatient = [f"{x:.9f}" for x in (*row, *column)]
    save(ds, path)


def _stretch(ds, path, random):
    ds.PixelSpacing = [f"{float(x) * random.uniform(0.9, 1.1):.6f}" for x in ds.PixelSpacing]
    save(ds, path)


def _unplace(ds, path, random):
    delattr(ds, random.choice(["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]))
    save(ds, path)


def _cut(ds, path, random):
    content = path.read_bytes()
    path.write_bytes(content[: int(random.integers(len(content)))])


SPOILERS = [_drop, _copy, _another_there, _move, _turn, _stretch, _unplace, _cut]


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_spoilt_series_are_exact_or_refused(count):
    """Up to three slices are spoilt, each in its way: nothing may come out that is not right."""
    spoilers = st.lists(st.sampled_from(SPOILERS), min_size=1, max_size=3)

    @for_all(count, one=series(), chosen=spoilers, seed=st.integers(0, 2**16))
    def holds(one, chosen, seed):
        random = np.random.default_rng(seed)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_shuffled(one, folder, ExplicitVRLittleEndian, seed)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            for spoil, at in zip(chosen, random.permutation(len(paths)), strict=False):
                spoil(pydicom.dcmread(paths[at]), paths[at], random)
            try:
                stacks = list_stacks(folder)
            except MedsegError:
                return
            volumes, refused = readable(stacks)
            judged = judge(volumes, frames_below(folder))
        assert judged.misread == 0
        assert refused or judged.exact


def readable(stacks) -> tuple[list[Volume], list[str]]:
    """Volumes of the stacks that can be read, codes of those that cannot."""
    volumes, refused = [], []
    for stack in stacks:
        try:
            scan = read_stack(stack)
        except MedsegError as error:
            refused.append(error.code)
        else:
            volumes.append(Volume(scan.voxels[0], scan.grid.affine))
    return volumes, refused


def labelled_places(path: Path) -> dict[tuple[int, ...], int]:
    """Label of each voxel of a SEG, by its own header, at its place (hundredths of mm, LPS)."""
    ds = pydicom.dcmread(path)
    shared = ds.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    spacing = [float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing]
    values = {one.SegmentNumber: int(one.TrackingID.split()[-1]) for one in ds.SegmentSequence}
    found: dict[tuple[int, ...], int] = {}
    pixels = np.reshape(ds.pixel_array, (-1, ds.Rows, ds.Columns))
    for frame, own in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
        value = values[own.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        for r, c in np.argwhere(frame):
            at = position + row * spacing[1] * c + column * spacing[0] * r
            found[tuple(np.round(np.asarray(at, float) * 100).astype(int))] = value
    return found


@pytest.mark.parametrize("count", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_segmentations_lie_on_the_slices(count):
    """Every label comes back, and lies in the file at the millimetre of its pixel."""

    @for_all(count, one=series(), seed=st.integers(0, 2**16))
    def holds(one, seed):
        plain = replace(one, slopes=(1.0,))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "dicom")
            folder.mkdir()
            write_shuffled(plain, folder, ExplicitVRLittleEndian, seed)
            scan = read_scan(folder)
            random = np.random.default_rng(seed)
            values = random.choice([0, 2, 7], scan.grid.shape).astype(np.uint8)
            assume(values.any())
            labels = LabelMap(values, scan.grid, TABLE, scan.provenance)
            path = write_labels(labels, Path(name, "a.dcm"))
            back = read_labels(path)
            found = labelled_places(path)
        assert np.array_equal(back.values, values)
        assert back.grid.same_as(scan.grid, tolerance_mm=1e-3)
        assert_lies_at(found, one, scan, values)


def _from_segmentation(path, scan):
    del scan
    return read_labels(path, table=TABLE)


def _from_structures(path, scan):
    return read_labels_on(path, scan=scan, table=TABLE)


LABEL_MAP = ("a.dcm", "labelmap", _from_segmentation)
STRUCTURES = ("a.rtstruct.dcm", None, _from_structures)


@pytest.mark.parametrize(
    ("name", "encoding", "read_back", "count"),
    [
        (*LABEL_MAP, 8),
        (*STRUCTURES, 8),
        pytest.param(*LABEL_MAP, 100, marks=pytest.mark.slow),  # starts a process for each
        pytest.param(*STRUCTURES, 500, marks=pytest.mark.slow),
    ],
)
def test_label_maps_and_contours_come_back_equal(name, encoding, read_back, count):
    """Lone voxels, holes and touching labels, on oblique, tilted and shuffled series."""

    @for_all(count, one=series(), seed=st.integers(0, 2**16))
    def holds(one, seed):
        plain = replace(one, slopes=(1.0,))
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "dicom")
            folder.mkdir()
            write_shuffled(plain, folder, ExplicitVRLittleEndian, seed)
            scan = read_scan(folder)
            values = np.random.default_rng(seed).choice([0, 2, 7], scan.grid.shape)
            assume(values.any())
            labels = LabelMap(values.astype(np.uint8), scan.grid, TABLE, scan.provenance)
            path = write_labels(labels, Path(place, name), encoding=encoding)
            back = read_back(path, scan)
        assert np.array_equal(back.values, values)
        assert back.grid.same_as(scan.grid, tolerance_mm=1e-3)


def assert_lies_at(found, one, scan, values):
    """Places of the labelled voxels by the series' own formula, whichever way K runs."""
    last = len(one.stored) - 1
    first = np.linalg.norm(scan.grid.to_world((0, 0, 0)) - one.world(0, 0, 0))
    turned = first > np.linalg.norm(scan.grid.to_world((0, 0, 0)) - one.world(0, 0, last))
    for i, j, k in np.argwhere(values):
        at = one.world(i, j, last - k if turned else k) * LPS_TO_RAS * 100
        near = np.round(at).astype(int) + NEIGHBOURS
        assert values[i, j, k] in [found.get(tuple(place)) for place in near]


NEIGHBOURS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 1, 3), (5, 1, 1), (3, 3, 2), (2, 7, 1)])
def test_segmentations_of_tiny_images(tmp_path, shape, encoding):
    """Frames of fewer than 8 pixels follow each other within a byte."""
    Series(random_stored(shape)).write(tmp_path / "dicom")
    scan = read_scan(tmp_path / "dicom")
    values = np.random.default_rng(0).choice([0, 2, 7], scan.grid.shape).astype(np.uint8)
    values[0, 0, 0] = 2
    labels = LabelMap(values, scan.grid, TABLE, scan.provenance)
    path = write_labels(labels, tmp_path / "a.dcm", encoding=encoding)
    assert np.array_equal(read_labels(path).values, values)
    pixels = np.reshape(pydicom.dcmread(path).pixel_array, (-1, *shape[1:]))
    assert np.count_nonzero(pixels) == np.count_nonzero(values)
