"""A small network of more classes than features, its predictor and a scan of noise."""

from __future__ import annotations

import numpy as np
import torch

from medseg.inference import Predictor
from medseg.networks.unet import Settings, build
from medseg.planning import Component, Normalisation, Plan
from medseg.runtime.device import Device
from medseg.volume import Grid, LabelTable, Scan

CPU = Device(torch.device("cpu"), None, "float32, whatever the processor")
CLASSES, FEATURES = 12, 4


def network_of(classes=CLASSES):
    torch.manual_seed(1)
    settings = Settings(features=(FEATURES, 8), deep_supervision=False)
    return build(settings, spatial_dims=3, in_channels=1, out_channels=classes).eval()


NETWORK = network_of()


def predictor_of(
    network=NETWORK, classes=CLASSES, *, patch=(8, 8, 8), spacing=1.0, overlap=0.5, regions=False
):
    labels = {index: f"part {index}" for index in range(1, classes + regions)}
    plan = Plan(
        spacing_mm=(spacing,) * 3,
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=patch,
        batch=1,
        overlap=overlap,
        network=Component(name="unet"),
        regions=tuple((index,) for index in labels) if regions else (),
    )
    return Predictor(network, plan, LabelTable.of(labels), CPU)


def scan_of(shape, seed=0):
    voxels = np.random.default_rng(seed).normal(0, 1, (1, *shape)).astype(np.float32)
    return Scan(voxels, Grid(shape, np.eye(4)))
