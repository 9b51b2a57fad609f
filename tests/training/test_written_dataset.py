"""Scans and label maps in memory, written as a dataset with one call."""

from __future__ import annotations

import numpy as np
import pytest

from medseg import LabelMap, Scan, open_dataset, write_dataset
from medseg.errors import GeometryError, InputError
from toy_dataset import toy_case

AFFINE = np.diag([1.2, 1.2, 1.2, 1.0])


def case(seed, *, names=None, affine=AFFINE, **about):
    image, labels = toy_case(seed)
    table = names or {1: "box", 2: "core"}
    return Scan.from_array(image, AFFINE, **about), LabelMap.from_array(labels, affine, table)


def test_what_was_in_memory_is_what_is_trained_on(tmp_path):
    cases = {f"c{seed}": case(seed, modality="CT") for seed in range(3)}
    dataset = open_dataset(write_dataset(tmp_path / "data", cases))
    assert [one.name for one in dataset.cases] == ["c0", "c1", "c2"]
    assert (dataset.labels.names, dataset.modality) == (("box", "core"), "CT")
    for one in dataset.cases:
        scan, truth = dataset.read(one)
        assert np.array_equal(scan.voxels, cases[one.name][0].voxels)
        assert np.array_equal(truth.values, cases[one.name][1].values)


def test_structures_of_one_name_get_one_value(tmp_path):
    swapped = case(1, names={1: "core", 2: "box"})
    folder = write_dataset(tmp_path / "data", {"a": case(0), "b": swapped})
    dataset = open_dataset(folder)
    truth = dataset.read(dataset.cases[1])[1]
    assert truth.table.names == ("box", "core")
    assert np.array_equal(truth.values == 1, swapped[1].values == 2)


def test_channels_keep_their_names(tmp_path):
    image, labels = toy_case(0)
    both = Scan.from_array(
        np.stack([image, image * 2], -1), AFFINE, channel_axis=-1, channel_names=("T1", "T2")
    )
    truth = LabelMap.from_array(labels, AFFINE, {1: "box", 2: "core"})
    dataset = open_dataset(write_dataset(tmp_path / "data", {"a": (both, truth)}))
    scan, _ = dataset.read(dataset.cases[0])
    assert scan.channel_names == ("T1", "T2")
    assert np.array_equal(scan.voxels, both.voxels)


def test_bad_cases_are_refused(tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] = 5
    image, labels = toy_case(0)
    image[3, 3, 3] = np.nan
    hole = Scan.from_array(image, AFFINE), LabelMap.from_array(labels, AFFINE, {1: "a", 2: "b"})
    for name, cases, error, message in (
        ("none", {}, InputError, "needs cases"),
        ("moved", {"a": case(0, affine=moved)}, GeometryError, "do not lie on the scan's grid"),
        ("same", {"a": case(0), "b": case(0)}, InputError, "'a' and 'b' have the same scan"),
        ("nan", {"a": hole}, InputError, "NaN"),
        ("kinds", {"a": case(0, modality="CT"), "b": case(1, modality="MR")}, InputError, "CT"),
        ("name", {"a/b": case(0)}, InputError, "cannot be called"),
    ):
        with pytest.raises(error, match=message):
            write_dataset(tmp_path / name, cases)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_dataset(tmp_path, {"a": case(0)})
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
