"""A plain MONAI training loop: cached cases, the usual random transforms, workers, DynUNet."""

from __future__ import annotations

import os
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandSimulateLowResolutiond,
    SpatialPadd,
)
from rivals.nnunet.step_times import StepTimes

from medseg.training import Dataset

STRIDES = [1, 2, 2, 2]
WIDTHS = [32, 64, 128, 256]
BOTH = ("image", "label")


def transforms(patch: list[int]) -> Compose:
    """Loading, normalisation, crops on a label or not, and nnU-Net's kinds of changes."""
    flips = [RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(3)]
    return Compose(
        [
            LoadImaged(BOTH),
            EnsureChannelFirstd(BOTH),
            NormalizeIntensityd("image"),
            SpatialPadd(BOTH, patch),
            RandCropByPosNegLabeld(BOTH, label_key="label", spatial_size=patch, num_samples=1),
            RandAffined(
                BOTH,
                prob=0.3,
                rotate_range=[0.5] * 3,
                scale_range=[0.3] * 3,
                mode=("bilinear", "nearest"),
            ),
            *flips,
            RandGaussianNoised("image", prob=0.1),
            RandGaussianSmoothd("image", prob=0.2),
            RandScaleIntensityd("image", factors=0.25, prob=0.15),
            RandSimulateLowResolutiond("image", prob=0.25),
            RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
        ]
    )


def measure(
    dataset: Dataset, *, patch: list[int], batch: int, device: str, seconds: float
) -> dict[str, Any]:
    """Train for `seconds` on fold 0 and clock the steps."""
    files = [{"image": case.images[0], "label": case.label} for case in dataset.fold(0)[0]]
    loader = DataLoader(
        CacheDataset(files, transforms(patch), progress=False),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=len(os.sched_getaffinity(0)),
        persistent_workers=True,
        pin_memory=device == "cuda",
    )
    network = DynUNet(
        3, 1, 1 + len(dataset.labels), [3] * 4, STRIDES, STRIDES[1:], filters=WIDTHS
    ).to(device)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True)
    times = StepTimes(seconds, device == "cuda")

    def step(sample: dict[str, Any]) -> None:
        image, label = (sample[key].to(device, non_blocking=True) for key in BOTH)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            value = loss(network(image), label)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        value.item()

    while not times.is_over:
        for sample in loader:
            times.step(lambda sample=sample: step(sample))  # type: ignore[misc]
            if times.is_over:
                break
    return dict(times.row(batch, patch))
