"""Prepared cases that are broken on disk are noticed, told and made again."""

import warnings

import numpy as np
import pytest

from medseg.training import open_dataset
from medseg.training.cache import prepare_case
from medseg.training.held_out import prepare_held_out
from toy_dataset import TOY_PLAN, write_toy


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_toy(tmp_path_factory.mktemp("data") / "toy", cases=3))


def truncated(file):
    file.write_bytes(file.read_bytes()[:-100])


def emptied(file):
    file.write_bytes(b"")


def overwritten(file):
    file.write_bytes(b"\0" * file.stat().st_size)


def of_another_size(file):
    np.save(file, np.load(file)[..., :-1])


def of_another_type(file):
    np.save(file, np.load(file).astype(np.int16))


def of_other_classes(file):
    array = np.load(file)
    array[0, 0, 0] = 77
    np.save(file, array)


DAMAGES = [truncated, emptied, overwritten, of_another_size, of_another_type]


def damaged(file, damage, prepare):
    """What is prepared after damage to a file, which is told."""
    damage(file)
    with pytest.warns(
        UserWarning, match=r"prepared case '.*' is broken \(.*prepared again"
    ) as told:
        again = prepare()
    assert "\n" not in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare()
    return again


@pytest.mark.parametrize("part", ["image", "labels"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_case_is_prepared_again(dataset, tmp_path, part, damage):
    def prepare():
        return prepare_case(dataset, dataset.cases[0], TOY_PLAN, tmp_path)

    first = prepare()
    image, labels = first.image.copy(), first.labels.copy()
    file = tmp_path / f"{dataset.cases[0].name}.{part}.npy"
    again = damaged(file, damage, prepare)
    np.testing.assert_array_equal(again.image, image)
    np.testing.assert_array_equal(again.labels, labels)


def test_a_class_that_is_not_the_datasets_is_noticed(dataset, tmp_path):
    def prepare():
        return prepare_case(dataset, dataset.cases[0], TOY_PLAN, tmp_path)

    labels = prepare().labels.copy()
    file = tmp_path / f"{dataset.cases[0].name}.labels.npy"
    np.testing.assert_array_equal(damaged(file, of_other_classes, prepare).labels, labels)


@pytest.mark.parametrize("part", ["image", "truth", "affine", "box"])
def test_a_broken_held_out_case_is_prepared_again(dataset, tmp_path, part):
    def prepare():
        return prepare_held_out(dataset, dataset.cases[:1], TOY_PLAN, tmp_path)[0]

    first = prepare()
    image, truth, box = first.image_CIJK.clone(), first.truth.values.copy(), first.box
    file = tmp_path / f"{dataset.cases[0].name}.{part}.npy"
    again = damaged(file, truncated, prepare)
    np.testing.assert_array_equal(again.image_CIJK, image)
    np.testing.assert_array_equal(again.truth.values, truth)
    assert again.box == box
