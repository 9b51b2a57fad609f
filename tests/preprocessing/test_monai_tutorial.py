"""The loop of MONAI's spleen tutorial, with our pipeline where its transforms were."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.transforms import AsDiscrete, AsDiscreted, Compose, Invertd, RandCropByPosNegLabeld

from medseg.preprocessing import pipeline
from medseg.reading import read_labels
from medseg.reading.monai_reader import MedsegReader
from toy_dataset import TOY_PLAN, write_toy

PATCH = (16, 16, 16)
PLAN = msgspec.structs.replace(TOY_PLAN, spacing_mm=(1.4, 1.2, 1.3))
CLASSES = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = write_toy(tmp_path_factory.mktemp("toy"), cases=6)
    names = [f"c{number}.nii.gz" for number in range(6)]
    return [{"image": folder / "images" / n, "label": folder / "labels" / n} for n in names]


@pytest.fixture(scope="module")
def steps():
    return pipeline(PLAN, label="label")


def dice_of(network, loader):
    metric = DiceMetric(include_background=False)
    labels, classes = AsDiscrete(to_onehot=CLASSES), AsDiscrete(argmax=True, to_onehot=CLASSES)
    network.eval()
    with torch.no_grad():
        for batch in loader:
            logits = sliding_window_inference(batch["image"], PATCH, 2, network)
            metric(
                [classes(one) for one in decollate_batch(logits)],
                [labels(one) for one in decollate_batch(batch["label"])],
            )
    return float(metric.aggregate())


def test_the_tutorials_loop_learns_with_our_pipeline(files, steps):
    torch.manual_seed(0)
    crop = RandCropByPosNegLabeld(
        ["image", "label"], "label", PATCH, pos=1, neg=1, num_samples=4, image_key="image"
    ).set_random_state(0)
    training = CacheDataset(
        files[:4], Compose([*steps.transforms, crop]), num_workers=0, progress=False
    )
    loader = DataLoader(training, batch_size=2, shuffle=True)
    held_out = CacheDataset(files[4:], steps, num_workers=0, progress=False)
    held_out_loader = DataLoader(held_out, batch_size=1)
    network = UNet(3, in_channels=1, out_channels=CLASSES, channels=(8, 16), strides=(2,))
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    before = dice_of(network, held_out_loader)
    for _ in range(30):
        network.train()
        for batch in loader:
            optimiser.zero_grad()
            loss = loss_function(network(batch["image"]), batch["label"])
            loss.backward()
            optimiser.step()
    after = dice_of(network, held_out_loader)
    assert after > 0.8 > 2 * before

    home = Invertd("pred", steps, orig_keys="image", nearest_interp=False)
    post = Compose([home, AsDiscreted("pred", argmax=True)])
    for batch, pair in zip(held_out_loader, files[4:], strict=True):
        with torch.no_grad():
            batch["pred"] = sliding_window_inference(batch["image"], PATCH, 2, network)
        (case,) = [post(one) for one in decollate_batch(batch)]
        truth = read_labels(pair["label"])
        assert tuple(case["pred"].shape[1:]) == truth.grid.shape
        np.testing.assert_allclose(case["pred"].affine.numpy(), truth.grid.affine, atol=1e-6)
        assert (case["pred"][0].numpy() == truth.values).mean() > 0.95


def test_a_cached_pipeline_reads_each_file_once(files):
    reads = []

    class Counting(MedsegReader):
        def get_data(self, img):
            reads.append(img)
            return super().get_data(img)

    crop = RandCropByPosNegLabeld(["image", "label"], "label", PATCH)
    steps = pipeline(PLAN, label="label", reader=Counting())
    cached = CacheDataset(
        files[:2], Compose([*steps.transforms, crop]), num_workers=0, progress=False
    )
    for _ in range(3):
        assert all(patch["image"].shape[1:] == PATCH for item in cached for patch in item)
    assert len(reads) == 2
