"""NIfTI, NRRD and MetaImage on any grid: the same value at the same millimetre, for everyone.

nibabel and SimpleITK read what medseg writes, and write what medseg reads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import MedsegError
from medseg.reading import read_labels, read_scan
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable, Scan
from medseg.writing import write_labels, write_scan
from strategies import grids

TABLE = LabelTable.of({1: "liver", 5: "left kidney", 300: "spleen"})
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
DTYPES = st.sampled_from(["int16", "uint8", "uint16", "float32"])
SEEDS = st.integers(0, 2**16)
COUNTS = [10, pytest.param(500, marks=pytest.mark.slow)]
ITK = [".nrrd", ".mha"]
WITHIN_MM = 1e-3


def for_all(count: int, **drawn: st.SearchStrategy) -> Callable:
    """Run the body for `count` examples."""

    def run(body: Callable) -> None:
        settings(max_examples=count, deadline=None)(given(**drawn)(body))()

    return run


@st.composite
def sheared_grids(draw: st.DrawFn) -> Grid:
    """Grids whose slices are tilted by up to 30 degrees."""
    grid = draw(grids(largest=5))
    angle, turn = draw(st.floats(0.02, np.radians(30))), draw(st.floats(-np.pi, np.pi))
    i, j, k = grid.spacing_mm
    shear = np.eye(4)
    shear[:2, 2] = k * np.tan(angle) * np.array([np.cos(turn) / i, np.sin(turn) / j])
    return Grid(grid.shape, grid.affine @ shear)


def voxels(grid: Grid, dtype: str, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 20, grid.shape).astype(dtype)


def labelled(grid: Grid, seed: int) -> LabelMap:
    values = np.random.default_rng(seed).choice([0, 1, 5, 300], grid.shape).astype(np.uint16)
    return LabelMap(values, grid, TABLE)


def assert_same(values: np.ndarray, affine: np.ndarray, truth: np.ndarray, grid: Grid) -> None:
    """Every voxel: its value, and the place of the corners."""
    assert np.array_equal(values, truth)
    assert grid.same_as(Grid(values.shape, affine), tolerance_mm=WITHIN_MM)


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def by_sitk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values (I, J, K), and the affine from the places of four voxels."""
    image = sitk.ReadImage(path)
    at = [np.array(image.TransformContinuousIndexToPhysicalPoint(list(one))) for one in POINTS]
    affine = np.eye(4)
    affine[:3, 3] = at[0] * LPS_TO_RAS
    affine[:3, :3] = (np.array(at[1:]) - at[0]).T * LPS_TO_RAS[:, None]
    return sitk.GetArrayFromImage(image).T, affine


POINTS = np.concatenate([np.zeros((1, 3)), np.eye(3)])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_scans(suffix, count):
    grids_of_all_kinds = st.one_of(grids(largest=5), sheared_grids())

    @for_all(count, grid=grids_of_all_kinds, dtype=DTYPES, seed=SEEDS)
    def holds(grid, dtype, seed):
        truth = voxels(grid, dtype, seed)
        with tempfile.TemporaryDirectory() as folder:
            path = write_scan(Scan(truth[None], grid), Path(folder, f"a{suffix}"))
            assert_same(*by_nibabel(path), truth, grid)
            back = read_scan(path)
        assert_same(back.voxels[0], back.grid.affine, truth, grid)


@pytest.mark.parametrize("count", COUNTS)
def test_nifti_labels(count):
    grids_of_all_kinds = st.one_of(grids(largest=5), sheared_grids())

    @for_all(count, grid=grids_of_all_kinds, seed=SEEDS)
    def holds(grid, seed):
        labels = labelled(grid, seed)
        with tempfile.TemporaryDirectory() as folder:
            path = write_labels(labels, Path(folder, "a.nii.gz"))
            assert_same(*by_nibabel(path), labels.values, grid)
            back = read_labels(path, table=TABLE)
        assert_same(back.values, back.grid.affine, labels.values, grid)


@pytest.mark.parametrize("count", COUNTS)
def test_nifti_of_others(count):
    """nibabel's file, with the place in sform, qform or both, in either byte order."""
    forms = st.sampled_from(["sform", "qform", "both"])

    @for_all(count, grid=grids(largest=5), dtype=DTYPES, seed=SEEDS, form=forms, big=st.booleans())
    def holds(grid, dtype, seed, form, big):
        truth = voxels(grid, dtype, seed)
        header = nib.Nifti1Header(endianness=">" if big else "<")
        image = nib.Nifti1Image(truth, grid.affine, header)
        image.set_sform(grid.affine, 0 if form == "qform" else 1)
        image.set_qform(grid.affine, 0 if form == "sform" else 1)
        with tempfile.TemporaryDirectory() as folder:
            nib.save(image, Path(folder, "a.nii"))
            back = read_scan(Path(folder, "a.nii"))
        if any("half turn" in note for note in back.provenance.notes):
            rounded = nib.Nifti1Image(truth, None, header=image.header).header.get_qform()
            grid = Grid(grid.shape, rounded)
        assert_same(back.voxels[0], back.grid.affine, truth, grid)


def test_a_qform_near_a_half_turn_is_told(tmp_path):
    """Three float32 numbers cannot tell a turn of 179.94 degrees from one of 180."""
    for degrees, told in ((179.94, True), (179.8, False), (180.0, False)):
        angle = np.radians(degrees)
        affine = np.eye(4)
        affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), affine)
        image.set_sform(affine, 0)
        image.set_qform(affine, 1)
        nib.save(image, tmp_path / "a.nii")
        notes = read_scan(tmp_path / "a.nii").provenance.notes
        assert any("half turn" in note for note in notes) is told
        away = np.abs(read_scan(tmp_path / "a.nii").grid.affine - affine).max()
        assert away < (2e-3 if told else 1e-4)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("suffix", ITK)
def test_itk_scans(suffix, count):
    @for_all(count, grid=grids(largest=5), dtype=DTYPES, seed=SEEDS)
    def holds(grid, dtype, seed):
        truth = voxels(grid, dtype, seed)
        with tempfile.TemporaryDirectory() as folder:
            path = write_scan(Scan(truth[None], grid), Path(folder, f"a{suffix}"))
            assert_same(*by_sitk(path), truth, grid)
            back = read_scan(path)
        assert_same(back.voxels[0], back.grid.affine, truth, grid)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("suffix", [*ITK, ".seg.nrrd"])
def test_itk_labels(suffix, count):
    @for_all(count, grid=grids(largest=5), seed=SEEDS)
    def holds(grid, seed):
        labels = labelled(grid, seed)
        with tempfile.TemporaryDirectory() as folder:
            path = write_labels(labels, Path(folder, f"a{suffix}"))
            assert_same(*by_sitk(path), labels.values, grid)
            back = read_labels(path, table=TABLE)
        assert_same(back.values, back.grid.affine, labels.values, grid)


WORDS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=12)
CODES = st.builds(
    Code,
    value=st.from_regex(r"[A-Z0-9.-]{1,16}", fullmatch=True),
    scheme=st.sampled_from(["SCT", "SRT", "FMA", "99LOCAL"]),
    meaning=WORDS.filter(lambda text: not set("^~|") & set(text)),
)


@st.composite
def tables(draw: st.DrawFn) -> LabelTable:
    """Values, names, colours and codes of any kind; some labels have no code."""
    values = sorted(draw(st.sets(st.integers(1, 65535), min_size=1, max_size=5)))
    size = len(values)
    named = WORDS.filter(lambda text: text.strip())
    names = draw(st.lists(named, min_size=size, max_size=size, unique=True))
    colors = st.tuples(*[st.integers(0, 255)] * 3)
    codes = st.one_of(st.none(), CODES)
    return LabelTable(
        tuple(
            Label(value=value, name=name, color=draw(colors), code=draw(codes))
            for value, name in zip(values, names, strict=True)
        )
    )


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd"])
def test_label_tables_come_back(suffix, count):
    @for_all(count, table=tables(), seed=SEEDS)
    def holds(table, seed):
        values = np.random.default_rng(seed).choice([0, *table.values], (2, 3, 2))
        labels = LabelMap(values.astype(np.uint16), Grid((2, 3, 2), np.eye(4)), table)
        with tempfile.TemporaryDirectory() as folder:
            back = read_labels(write_labels(labels, Path(folder, f"a{suffix}")))
        assert back.table == table
        assert np.array_equal(back.values, values)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("suffix", ITK)
def test_itk_files_of_others(suffix, count):
    @for_all(count, grid=grids(largest=5), dtype=DTYPES, seed=SEEDS)
    def holds(grid, dtype, seed):
        truth = voxels(grid, dtype, seed)
        image = sitk.GetImageFromArray(truth.T)
        image.SetSpacing(grid.spacing_mm)
        image.SetOrigin(grid.origin_mm * LPS_TO_RAS)
        image.SetDirection((grid.direction * LPS_TO_RAS[:, None]).ravel())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"a{suffix}")
            sitk.WriteImage(image, path)
            back = read_scan(path)
        assert_same(back.voxels[0], back.grid.affine, truth, grid)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("suffix", ITK)
def test_itk_files_refuse_a_shear_they_cannot_hold(suffix, count):
    @for_all(count, grid=sheared_grids(), seed=SEEDS)
    def holds(grid, seed):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"a{suffix}")
            with pytest.raises(MedsegError):
                write_labels(labelled(grid, seed), path)
            with pytest.raises(MedsegError):
                write_scan(Scan(voxels(grid, "int16", seed)[None], grid), path)
            assert not any(Path(folder).iterdir())
