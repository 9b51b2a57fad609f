"""The same batches whenever, wherever and by however many workers they are made."""

import itertools
import signal
import subprocess
import sys
import typing
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.transforms import RandFlipd, RandGaussianNoised, RandRotate90d
from msgspec import structs

import patch_transforms
from drawn_batches import draw_batch, draw_batches
from medseg.augmentation import build_augmentation
from medseg.errors import InputError, MedsegError
from medseg.losses import IGNORE
from medseg.planning import Component, Normalisation, Plan
from medseg.planning.presets import PRESETS
from medseg.training.cache import Prepared
from medseg.training.device_cases import DeviceCases
from medseg.training.options import TrainingOptions
from medseg.training.own_parts import OwnAugmentation
from medseg.training.sampling import PatchSampler

pytestmark = pytest.mark.usefixtures("one_thread")
STRONG = tuple(Component(name=name, settings=own) for name, own in PRESETS["strong"])
PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("T1", "T2"),
    normalisation=(Normalisation(), Normalisation()),
    patch=(16, 12, 8),
    batch=5,
    network=Component(name="unet"),
    augmentation=STRONG,
)
OPTIONS = TrainingOptions(seed=3)
KEYS = ["image", "label"]


def case(number, shape=(24, 20, 18)):
    rng = np.random.default_rng(number)
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(n // 3, n // 3 + 5) for n in shape)] = 1
    labels[:, :, :1] = IGNORE
    image = 5.0 * (labels == 1) + rng.normal(size=(2, *shape))
    return Prepared(image.astype(np.float32), labels, (np.argwhere(labels == 1),))


CASES = [case(n) for n in range(3)]


def assert_equal(first, second):
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_a_start_in_the_middle_gives_what_an_undisturbed_one_does():
    augment = build_augmentation(PLAN)
    whole = draw_batches(CASES, PLAN, augment, options=OPTIONS, steps=itertools.count())
    rest = draw_batches(CASES, PLAN, augment, options=OPTIONS, steps=range(2, 4))
    assert_equal(whole[2:], rest)
    assert whole[0][0].dtype == torch.float32
    assert whole[0][1].dtype == torch.int64


def test_batches_are_made_on_one_core_and_the_network_keeps_its_own():
    class Watched:
        region = PLAN.patch
        cores: typing.ClassVar = []

        def batched(self, image, label, generator, **_):
            self.cores.append(torch.get_num_threads())
            return image, label

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        draw_batch(CASES, PLAN, Watched(), options=OPTIONS, step=0)
        with ThreadPoolExecutor(1) as later:
            of_a_later_thread = later.submit(torch.get_num_threads).result()
        assert (Watched.cores, torch.get_num_threads(), of_a_later_thread) == ([1], 2, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_of_processes_make_up_the_batch_of_one(world_size):
    augment = build_augmentation(PLAN)
    whole = draw_batch(CASES, PLAN, augment, options=OPTIONS, step=1)
    for rank in range(world_size):
        share = draw_batch(
            CASES, PLAN, augment, options=OPTIONS, step=1, rank=rank, world_size=world_size
        )
        torch.testing.assert_close(share[0], whole[0][rank::world_size])
        assert torch.equal(share[1], whole[1][rank::world_size])


def test_where_the_cases_lie_changes_nothing():
    crops = PatchSampler(CASES, PLAN, OPTIONS).crops(4)
    size = sum(one.image.nbytes + one.labels.nbytes for one in CASES)
    cpu = torch.device("cpu")
    mapped = DeviceCases.mapped(CASES).cut(crops, (30, 12, 8))
    kept = DeviceCases.kept(CASES, cpu, budget=size).cut(crops, (30, 12, 8))
    assert_equal([mapped], [kept])
    assert DeviceCases.kept(CASES, cpu, budget=size - 1) is None
    half = DeviceCases.kept(CASES, cpu, budget=size - 1, half=True)
    assert half.images[0].dtype == torch.float16
    image, labels = half.cut(crops, (30, 12, 8))
    torch.testing.assert_close(image, mapped[0], rtol=1e-3, atol=1e-4)
    assert torch.equal(labels, mapped[1])
    large = [structs_of(one, image=one.image * 1e5) for one in CASES]
    assert DeviceCases.kept(large, cpu, budget=size - 1, half=True) is None


def structs_of(one, *, image):
    return Prepared(image, one.labels, one.foreground_voxels)


def test_a_patch_larger_than_the_scan_is_zero_around_it():
    small = [case(0, (5, 9, 7))]
    plan = structs.replace(PLAN, augmentation=())
    image, labels = draw_batch(small, plan, build_augmentation(plan), options=OPTIONS, step=0)
    assert image.shape == (5, 2, 16, 12, 8)
    shown = (image[0] != 0).any(0)
    assert shown.sum() == 5 * 9 * 7
    assert not labels[0][~shown].any()
    assert set(labels.unique().tolist()) <= {0, 1, IGNORE}
    inside = image[0][:, shown].reshape(small[0].image.shape)
    np.testing.assert_array_equal(inside, small[0].image)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_patches_on_a_label_is_exact(share):
    corner = np.zeros((40, 40, 40), np.uint8)
    corner[-4:, -4:, -4:] = 1
    voxels = np.array([[39, 39, 39]])
    cases = [Prepared(np.zeros((2, *corner.shape), np.float32), corner, (voxels,))]
    plan = structs.replace(PLAN, patch=(8, 8, 8), batch=10)
    sampler = PatchSampler(cases, plan, structs.replace(OPTIONS, oversample=share))
    crops = [crop for step in range(10) for crop in sampler.crops(step)]
    on_label = sum(crop.centre == (36, 36, 36) for crop in crops)
    assert on_label == round(100 * share)


@pytest.mark.parametrize("patch", [(16, 12, 8), (16, 12, 1)])
def test_image_labels_and_ignored_voxels_stay_together(patch):
    plane = "axial" if patch[2] == 1 else None
    plan = structs.replace(PLAN, patch=patch, plane=plane, augmentation=STRONG[:4], batch=16)
    cases = [case(n, (24, 20, 30)) for n in range(3)]
    image, labels = draw_batch(cases, plan, build_augmentation(plan), options=OPTIONS, step=0)
    assert set(labels.unique().tolist()) <= {0, 1, IGNORE}
    for sample, label in zip(image, labels, strict=True):
        if (label == 1).sum() > 20:
            assert (sample[:, label == 1].mean(1) > sample[:, label == 0].mean(1) + 2).all()


@pytest.mark.parametrize("queue_bytes", [1, 2**30])
def test_a_queue_of_any_size_gives_every_batch(queue_bytes):
    own = OwnAugmentation([RandFlipd(KEYS, prob=0.5), lambda patch: patch], PLAN)
    with pytest.warns(UserWarning, match=r"runs in threads .* lambdas cannot"):
        batches = draw_batches(
            CASES, PLAN, own, options=OPTIONS, steps=range(3), queue_bytes=queue_bytes, workers=3
        )
    assert len(batches) == 3


def given():
    """Random transforms that another process can import."""
    steps = [RandFlipd(KEYS, prob=0.5), RandRotate90d(KEYS, prob=0.5, spatial_axes=(0, 1))]
    plan = structs.replace(PLAN, patch=(12, 12, 8))
    return plan, [*steps, RandGaussianNoised("image", prob=0.5), patch_transforms.printing]


def test_any_number_of_workers_gives_the_same_batches():
    plan, steps = given()
    drawn = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for workers in (1, 2):
            own = OwnAugmentation(steps, plan)
            drawn.append(
                draw_batches(CASES, plan, own, options=OPTIONS, steps=range(3), workers=workers)
            )
    assert_equal(*drawn)
    in_place = []
    for crop in PatchSampler(CASES, plan, OPTIONS).crops(0):
        image, label = DeviceCases.mapped(CASES).cut([crop], plan.patch)
        in_place.append(OwnAugmentation(steps, plan)(image[0], label[0].long(), seed=crop.seed))
    images, labels = (torch.stack(rows) for rows in zip(*in_place, strict=True))
    assert_equal([(images, labels)], drawn[0][:1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (patch_transforms.killed, r"ended by the system \(SIGKILL\), most likely .* memory"),
        (patch_transforms.crashed, r"crashed \(SIGSEGV\)"),
        (patch_transforms.left, "ended with exit code 3"),
    ],
)
def test_a_worker_that_dies_is_one_sentence_with_the_cause(transform, words):
    own = OwnAugmentation([transform], PLAN)
    with pytest.raises(MedsegError, match=words) as caught:
        draw_batch(CASES, PLAN, own, options=OPTIONS, step=0, workers=1)
    assert caught.value.code == "WORKER"
    assert "\n" not in str(caught.value)


def test_what_fails_in_a_worker_is_told_as_it_is():
    own = OwnAugmentation([patch_transforms.failing], PLAN)
    with pytest.raises(InputError, match="fails on a patch: no patch is good enough; it has to"):
        draw_batch(CASES, PLAN, own, options=OPTIONS, step=0, workers=1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_workers_end_with_a_training_that_is_killed(tmp_path):
    script = tmp_path / "training.py"
    script.write_text(
        "import os, signal\n"
        "import patch_transforms\n"
        "from medseg.training.loader_workers import PatchWorkers\n"
        "from medseg.training.own_parts import OwnAugmentation\n"
        "from toy_dataset import TOY_PLAN\n"
        "own = OwnAugmentation([patch_transforms.as_it_is], TOY_PLAN)\n"
        "workers = PatchWorkers(own, 1)\n"
        "print(workers.workers[0].process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    _, told = killed.communicate()  # standard error ends when the last that holds it has ended
    assert killed.returncode == -signal.SIGKILL, told
