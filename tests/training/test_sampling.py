import itertools

import msgspec
import numpy as np
import pytest
import torch

from drawn_batches import draw_batch
from medseg.augmentation import build_augmentation
from medseg.planning import Component, Normalisation, Plan
from medseg.training.cache import Prepared, class_indices
from medseg.training.options import TrainingOptions
from medseg.training.recipe import Recipe
from medseg.training.schedule import learning_rate
from medseg.volume import LabelTable

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 12, 8),
    batch=4,
    network=Component(name="unet"),
)


def case(shape, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    labels[-9:, -9:, -9:] = 1
    image = labels[None] * 5 + rng.normal(size=(1, *shape))
    return Prepared(image.astype(np.float32), labels, (np.argwhere(labels == 1),))


@pytest.mark.parametrize("shape", [(40, 30, 20), (10, 30, 5), (3, 3, 3)])
def test_patches_have_the_planned_size_and_show_the_label(shape):
    image, labels = draw_batch(
        [case(shape)], PLAN, build_augmentation(PLAN), options=TrainingOptions(seed=0), step=3
    )
    assert image.shape == (4, 1, 16, 12, 8)
    assert labels.shape == (4, 16, 12, 8)
    assert (labels[0] == 1).any()


@pytest.mark.parametrize(
    ("plane", "patch"), [("sagittal", (1, 12, 8)), ("coronal", (16, 1, 8)), ("axial", (16, 12, 1))]
)
def test_slices_are_cut_one_voxel_thick_and_show_the_label(plane, patch):
    axis = patch.index(1)
    plan = msgspec.structs.replace(PLAN, plane=plane, patch=patch)
    augment = build_augmentation(plan)
    assert augment.region[axis] == 1
    for step in range(4):
        image, labels = draw_batch(
            [case((40, 30, 20))], plan, augment, options=TrainingOptions(seed=0), step=step
        )
        assert image.shape == (4, 1, *patch)
        assert labels.shape == (4, *patch)
        assert (labels[0] == 1).any()
        bright = image[0, 0][labels[0] == 1].mean() - image[0, 0][labels[0] == 0].mean()
        assert bright > 2


def test_a_step_is_the_same_whenever_it_is_drawn():
    cases, augment = [case((30, 30, 30), seed) for seed in range(3)], build_augmentation(PLAN)
    first = draw_batch(cases, PLAN, augment, options=TrainingOptions(seed=1), step=7)
    draw_batch(cases, PLAN, augment, options=TrainingOptions(seed=1), step=8)
    again = draw_batch(
        cases, PLAN, build_augmentation(PLAN), options=TrainingOptions(seed=1), step=7
    )
    other = draw_batch(cases, PLAN, augment, options=TrainingOptions(seed=1), step=8)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_image_and_labels_are_turned_together():
    cases, augment = [case((30, 30, 30))], build_augmentation(PLAN)
    for step in range(12):
        image, labels = draw_batch(cases, PLAN, augment, options=TrainingOptions(seed=0), step=step)
        for patch, label in zip(image[:, 0], labels, strict=True):
            if (label == 1).sum() > 60 and (label == 0).sum() > 60:
                assert patch[label == 1].mean() > patch[label == 0].mean() + 1


def test_class_indices_follow_the_table():
    table = LabelTable.of({7: "a", 300: "b"})
    assert class_indices(np.array([0, 7, 300, 7]), table).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
@pytest.mark.parametrize("left", [0.0, 0.1])
def test_the_rate_rises_then_falls_to_what_is_left(schedule, left):
    recipe = Recipe(schedule=schedule, final_share=left)
    rates = [learning_rate(step, 1000, 1.0, recipe) for step in range(1001)]
    assert rates[0] < 0.05
    assert max(rates) > 0.95
    assert rates[1000] == pytest.approx(left)
    half = {"poly": 0.5**0.9, "cosine": 0.5}[schedule]
    assert rates[500] == pytest.approx(left + (1 - left) * half)
    assert all(a >= b for a, b in itertools.pairwise(rates[40:]))


def test_a_label_of_one_case_in_twenty_is_seen_as_often_as_the_others():
    rng = np.random.default_rng(0)
    cases = []
    for number in range(20):
        labels = np.zeros((24, 24, 24), np.uint8)
        labels[2:10, 2:10, 2:10] = 1
        labels[20, 20, 20] = 2 if number == 7 else 0
        image = rng.normal(size=(1, *labels.shape)).astype(np.float32)
        cases.append(Prepared(image, labels, tuple(np.argwhere(labels == n) for n in (1, 2))))
    plan = msgspec.structs.replace(PLAN, patch=(8, 8, 8), augmentation=())
    seen = {}
    for share in (0.0, 1.0):
        options = TrainingOptions(oversample=share)
        batches = [
            draw_batch(cases, plan, build_augmentation(plan), options=options, step=step)[1]
            for step in range(100)
        ]
        patches = torch.cat(batches).flatten(1)
        seen[share] = [float((patches == n).any(1).float().mean()) for n in (1, 2)]
    assert seen[1.0][1] == pytest.approx(0.5, abs=0.1)
    assert seen[0.0][1] < 0.05
