import msgspec
import numpy as np
import pytest
import torch

from medseg.inference import Predictor
from medseg.networks import build_network, suggestion
from medseg.planning import Component, Normalisation, Plan, Stages
from medseg.runtime.device import channels_last, choose_device
from medseg.volume import Grid, LabelTable, Scan

PATCHES = {"sagittal": (1, 16, 24), "coronal": (16, 1, 24), "axial": (16, 24, 1)}


def plan_for(plane):
    stages = Stages(
        patch=tuple(n for n in PATCHES[plane] if n > 1),
        features=(8, 16),
        strides=((1, 1), (2, 2)),
        kernels=((3, 3), (3, 3)),
    )
    return Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=PATCHES[plane],
        batch=2,
        network=suggestion("unet")(stages),
        plane=plane,
    )


@pytest.mark.parametrize("plane", list(PATCHES))
def test_it_is_the_flat_network_on_every_slice(plane):
    plan = plan_for(plane)
    network = channels_last(build_network(plan, classes=3)).eval()
    image = torch.randn(2, 1, *plan.patch)
    with torch.no_grad():
        logits = network(image.to(memory_format=torch.channels_last_3d))
        flat = network.network(image.squeeze(plan.slice_axis + 2))
    assert logits.shape == (2, 3, *plan.patch)
    torch.testing.assert_close(logits.squeeze(plan.slice_axis + 2), flat, rtol=1e-4, atol=1e-4)
    network.train()
    levels = network(image)
    assert all(level.ndim == 5 for level in levels)


@pytest.mark.parametrize("plane", list(PATCHES))
def test_a_volume_is_segmented_slice_by_slice(plane):
    plan = plan_for(plane)
    torch.manual_seed(0)
    network = channels_last(build_network(plan, classes=3)).eval()
    predictor = Predictor(network, plan, LabelTable.of({3: "a", 9: "b"}), choose_device("cpu"))
    shape = [12, 10, 9]
    voxels = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    grid = Grid(tuple(shape), np.eye(4))
    labels = predictor.predict(Scan(voxels, grid, "MR"))
    assert labels.values.shape == tuple(shape)
    axis = plan.slice_axis
    alone = np.take(voxels, [4], axis=axis + 1)
    unnormalised = msgspec.structs.replace(plan, normalisation=(Normalisation(scheme="none"),))
    predictor = Predictor(network, unnormalised, predictor.labels, predictor.device)
    whole = predictor.predict(Scan(voxels, grid, "MR")).values
    one = predictor.predict(Scan(alone, Grid(alone.shape[1:], np.eye(4)), "MR")).values
    assert np.array_equal(np.take(whole, [4], axis=axis), one)


def test_a_colour_picture_has_three_channels():
    plan = msgspec.structs.replace(
        plan_for("axial"), channels=("r", "g", "b"), normalisation=(Normalisation(),) * 3
    )
    assert isinstance(plan.network, Component)
    network = build_network(plan, classes=2).eval()
    assert network(torch.zeros(1, 3, 16, 24, 1)).shape == (1, 2, 16, 24, 1)
