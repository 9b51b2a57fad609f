"""What every format that is written keeps, of `medseg.writing` or of an installed package."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import WriteError
from medseg.reading import read_labels, read_scan
from medseg.runtime import registry
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.writing import write_labels, write_scan
from sample_package import part_names
from strategies import grids

ROOM = "medseg.writing"
PLUGINS = part_names("medseg.writers")
NAMES = registry.names(ROOM) + PLUGINS
NEEDS_ITS_SOURCE = {"dicom_seg", "rtstruct"}
TABLE = LabelTable.of({1: "liver", 5: "left kidney", 300: "spleen"})


def suffixes(function):
    tree = [name for name in registry.names(ROOM) if name not in NEEDS_ITS_SOURCE]
    modules = [registry.load(ROOM, name) for name in tree]
    known = [suffix for one in modules if hasattr(one, function) for suffix in one.suffixes]
    return [*sorted(one for one in known if one[1:4] in ("nii", "nrr", "mha")), ".sample.npz"]


VOLUME_LABELS = suffixes("write_labels")
VOLUME_SCANS = suffixes("write_scan")


def labels_on(grid, seed=0):
    values = np.random.default_rng(seed).choice([0, 1, 5, 300], grid.shape).astype(np.uint16)
    return LabelMap(values, grid, TABLE)


def test_the_formats_are_there():
    assert {"nifti", "dicom_seg", "itk_image"} <= set(NAMES)
    assert {".nii", ".nii.gz", ".nrrd", ".mha"} <= set(VOLUME_LABELS) & set(VOLUME_SCANS)


@pytest.mark.parametrize("name", NAMES)
def test_suffixes_belong_to_one_format(name):
    own = set(registry.load(ROOM, name).suffixes)
    assert own
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in own)
    for other in set(NAMES) - {name}:
        assert own.isdisjoint(registry.load(ROOM, other).suffixes)


@pytest.mark.parametrize("suffix", VOLUME_LABELS)
@settings(max_examples=12, deadline=None)
@given(grid=grids(largest=5), seed=st.integers(0, 9))
def test_labels_come_back_on_any_grid(suffix, grid, seed):
    labels = labels_on(grid, seed)
    with tempfile.TemporaryDirectory() as folder:
        back = read_labels(write_labels(labels, Path(folder, f"a{suffix}")), table=TABLE)
    assert np.array_equal(back.values, labels.values)
    assert back.grid.same_as(grid, tolerance_mm=1e-3)


@pytest.mark.parametrize("suffix", VOLUME_SCANS)
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "uint16"])
@settings(max_examples=4, deadline=None)
@given(grid=grids(largest=5), channels=st.integers(1, 3))
def test_scans_come_back_on_any_grid(suffix, dtype, grid, channels):
    voxels = np.random.default_rng(0).normal(50, 20, (channels, *grid.shape)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        back = read_scan(write_scan(Scan(voxels, grid), Path(folder, f"a{suffix}")))
    assert back.voxels.dtype == voxels.dtype
    assert np.array_equal(back.voxels, voxels)
    assert back.grid.same_as(grid, tolerance_mm=1e-3)


@pytest.mark.parametrize("suffix", VOLUME_LABELS)
def test_only_the_named_file_appears(tmp_path, suffix):
    write_labels(labels_on(Grid((3, 4, 5), np.eye(4))), tmp_path / f"a{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", VOLUME_LABELS)
def test_a_missing_folder_is_one_sentence(tmp_path, suffix):
    with pytest.raises(WriteError, match="nowhere") as caught:
        write_labels(labels_on(Grid((3, 4, 5), np.eye(4))), tmp_path / "nowhere" / f"a{suffix}")
    assert caught.value.code == "NO_FOLDER"


def test_unknown_suffix_lists_the_known(tmp_path):
    with pytest.raises(WriteError, match=r"\.nii\.gz") as caught:
        write_labels(labels_on(Grid((3, 4, 5), np.eye(4))), tmp_path / "a.xyz")
    assert caught.value.code == "UNKNOWN_FORMAT"


def test_overwrite_only_when_allowed(tmp_path):
    labels = labels_on(Grid((3, 4, 5), np.eye(4)))
    path = write_labels(labels, tmp_path / "a.nii.gz")
    before = path.read_bytes()
    with pytest.raises(WriteError) as caught:
        write_labels(labels_on(labels.grid, seed=4), path, overwrite=False)
    assert caught.value.code == "EXISTS"
    assert path.read_bytes() == before
    write_labels(labels_on(labels.grid, seed=4), path)
    assert path.read_bytes() != before
