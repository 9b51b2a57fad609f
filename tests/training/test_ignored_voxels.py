"""Label maps in which most voxels were judged by nobody: from the files to the scores."""

import json

import nibabel as nib
import numpy as np
import pytest
from msgspec import structs

from drawn_batches import draw_batch
from medseg.augmentation import build_augmentation
from medseg.errors import Cancelled, LabelError, PlanError
from medseg.losses import IGNORE
from medseg.planning import Component, read_plan, take_fingerprint
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.cache import class_indices, prepare_case
from medseg.volume import LabelTable
from toy_dataset import TOY_PLAN, toy_case

pytestmark = pytest.mark.usefixtures("one_thread")

PLAN = structs.replace(TOY_PLAN, batch=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The toy dataset as nnU-Net writes it, judged in every third plane only."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(6):
        image, labels = toy_case(number)
        unseen = np.arange(20) % 3 > 0
        labels[:, :, unseen] = 3
        for part, name, array in (
            ("imagesTr", f"c{number}_0000", image),
            ("labelsTr", f"c{number}", labels),
        ):
            (folder / part).mkdir(exist_ok=True)
            nib.save(
                nib.Nifti1Image(array, np.diag([1.2, 1.2, 1.2, 1])),
                folder / part / f"{name}.nii.gz",
            )
    labels = {"background": 0, "box": 1, "core": 2, "ignore": 3}
    about = {"channel_names": {"0": "MR"}, "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(about))
    return open_dataset(folder)


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    return prepare_case(dataset, dataset.cases[0], PLAN, tmp_path_factory.mktemp("cache"))


def test_ignore_is_no_structure(dataset):
    assert dataset.labels.names == ("box", "core")
    assert dataset.annotated.ignored == 3


def test_the_fingerprint_looks_at_structures_only(dataset):
    image, labels = toy_case(0)
    scan, truth = dataset.read(dataset.cases[0])
    mean = take_fingerprint([(scan, truth)]).intensities[0].mean
    judged = labels[:, :, ::3] > 0
    assert mean == pytest.approx(image[:, :, ::3][judged].mean(), rel=1e-3)


def test_prepared_labels_hold_the_mark(prepared):
    assert sorted(np.unique(prepared.labels)) == [0, 1, 2, IGNORE]
    assert len(prepared.foreground_voxels) == 2
    for index, voxels in enumerate(prepared.foreground_voxels, start=1):
        assert (prepared.labels[tuple(voxels.T)] == index).all()


def test_patches_keep_the_mark_and_are_background_outside_the_scan(prepared):
    plan = structs.replace(PLAN, patch=(48, 16, 16), batch=2)
    augment = build_augmentation(plan)
    for step in range(3):
        _, labels = draw_batch([prepared], plan, augment, options=TrainingOptions(), step=step)
        assert set(labels.unique().tolist()) <= {0, 1, 2, IGNORE}
        assert (labels == IGNORE).any()
        assert (labels[:, (0, -1)] == 0).all()


def test_a_run_trains_and_measures_on_what_was_judged(dataset, tmp_path):
    options = TrainingOptions(steps=2, validations=0, device="cpu")
    train(dataset, tmp_path / "run", options=options, plan=PLAN)
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert [label["name"] for label in manifest["labels"]["labels"]] == ["box", "core"]
    assert set(manifest["scores"]) == {"box", "core", "mean_over_labels"}


def test_the_loss_asked_for_is_planned(dataset, tmp_path):
    def stop_at_preparing(done, total, message):
        if message == "preparing":
            raise Cancelled("seen")

    options = TrainingOptions(steps=2, device="cpu", loss="dice_focal")
    with pytest.raises(Cancelled):
        train(dataset, tmp_path / "run", options=options, progress=stop_at_preparing)
    assert read_plan(tmp_path / "run" / "plan.json").loss == Component(name="dice_focal")


def test_class_indices_with_the_mark():
    table = LabelTable.of({4: "a", 9: "b", 300: "ignore"})
    assert class_indices(np.array([0, 4, 300, 9]), table).tolist() == [0, 1, IGNORE, 2]


def test_too_many_labels_are_refused():
    table = LabelTable.of({value: f"label {value}" for value in range(1, 256)})
    with pytest.raises(LabelError, match="255 labels are too many"):
        class_indices(np.zeros(3, np.uint8), table)


def test_an_unknown_loss_is_refused_before_anything_is_made():
    with pytest.raises(PlanError, match=r"'focal'.*dice_focal"):
        TrainingOptions(loss="focal")
