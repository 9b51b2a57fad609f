"""Cases are prepared as scans in memory are, held-out ones once however often they are used."""

from collections import Counter

import msgspec
import numpy as np
import pytest
import torch

from medseg.inference import Predictor
from medseg.networks import build_network
from medseg.preprocessing import prepare_image, prepare_labels
from medseg.runtime.device import choose_device
from medseg.training import Dataset, TrainingOptions, held_out, open_dataset, train
from medseg.training.cache import class_indices, prepare_case
from medseg.training.held_out import prepare_held_out
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_toy(tmp_path_factory.mktemp("data") / "toy", cases=4))


def test_a_run_reads_each_case_for_the_look_and_once_to_prepare_it(dataset, tmp_path, monkeypatch):
    """The look before the first step and the preparation, whatever is measured after them."""
    read = Counter()
    whole = Dataset.read_truth

    def counting(self, path, scan):
        read[path.name.removesuffix(".nii.gz")] += 1
        return whole(self, path, scan)

    monkeypatch.setattr(Dataset, "read_truth", counting)
    options = TrainingOptions(steps=3, validations=3, postprocess=True, device="cpu")
    train(dataset, tmp_path / "run", options=options, plan=TOY_PLAN)
    assert read == {case.name: 2 for case in dataset.cases}


def test_what_is_on_disk_is_taken(dataset, tmp_path, monkeypatch):
    first = prepare_held_out(dataset, dataset.cases[:2], TOY_PLAN, tmp_path)
    monkeypatch.setattr(held_out, "prepare_image", None)
    again = prepare_held_out(dataset, dataset.cases[:2], TOY_PLAN, tmp_path)
    for case, same in zip(first, again, strict=True):
        assert torch.equal(case.image_CIJK, same.image_CIJK)
        assert np.array_equal(case.truth.values, same.truth.values)
        assert case.truth.grid.same_as(same.truth.grid)


@pytest.mark.parametrize("crop", ["none", "padding"])
def test_a_prepared_case_is_segmented_as_the_scan_is(tmp_path, crop):
    """On an oblique grid of other spacing than the plan's and with padding, bit for bit."""
    import nibabel as nib

    folder = write_toy(tmp_path / "oblique", cases=1)
    turn = np.array([[0.0, -0.8, 0.6], [1, 0, 0], [0, 0.6, 0.8]]) @ np.diag([0.9, 1.5, 2.1])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn, (7, -20, 3)
    for part in ("images", "labels"):
        image = nib.load(folder / part / "c0.nii.gz")
        voxels = np.pad(np.asarray(image.dataobj), ((3, 0), (2, 4), (0, 5)))
        nib.save(nib.Nifti1Image(voxels, affine), folder / part / "c0.nii.gz")
    dataset, plan = open_dataset(folder), msgspec.structs.replace(TOY_PLAN, crop=crop)
    torch.manual_seed(0)
    network = build_network(plan, classes=3).eval()
    predictor = Predictor(network, plan, dataset.labels, choose_device("cpu"))
    (case,) = prepare_held_out(dataset, dataset.cases, plan, tmp_path / "cache")
    scan, truth = dataset.read(dataset.cases[0])
    whole = predictor.predict(scan)
    prepared = predictor.predict_prepared(case.image_CIJK, case.truth.grid, case.box)
    assert len(np.unique(whole.values)) > 1
    assert np.array_equal(prepared.values, whole.values)
    assert prepared.grid.same_as(scan.grid, tolerance_mm=0)
    assert np.array_equal(case.truth.values, truth.values)


def test_writing_into_a_prepared_image_changes_no_file(dataset, tmp_path):
    (case,) = prepare_held_out(dataset, dataset.cases[:1], TOY_PLAN, tmp_path)
    before = case.image_CIJK.clone()
    case.image_CIJK.zero_()
    assert torch.equal(case.image_CIJK, before)


def test_a_case_is_prepared_from_its_files_as_from_memory(dataset, tmp_path):
    plan = msgspec.structs.replace(
        TOY_PLAN, spacing_mm=(1.5, 1.2, 1.7), orientation="LPS", crop="padding"
    )
    scan, truth = dataset.read(dataset.cases[0])
    prepared = prepare_case(dataset, dataset.cases[0], plan, tmp_path)
    image, placement = prepare_image(scan, plan)
    assert np.array_equal(prepared.image, image.numpy())
    expected = class_indices(prepare_labels(truth, plan, placement.box), dataset.annotated)
    assert np.array_equal(prepared.labels, expected)
    assert set(np.unique(expected)) == {0, 1, 2}
