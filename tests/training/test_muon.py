"""Muon moves kernels by orthogonal matrices, and whatever is no kernel as Adam does."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medseg.errors import Cancelled
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.muon import ADAM_SHARE, Muon, orthogonal
from medseg.training.optimizer import build_optimizer
from medseg.training.recipe import Recipe
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("shape", [(16, 400), (64, 27), (32, 32)])
def test_singular_values_become_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert 0.5 < values.min() <= values.max() < 1.3


def test_the_directions_stay():
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    between = left.T @ orthogonal(matrix) @ right.T
    assert (between - torch.diag(between.diagonal())).abs().max() < 1e-3


def test_a_bias_moves_as_adam_moves_it():
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12)) for _ in range(2))
    muon = Muon([ours], lr=0.1)
    adam = torch.optim.Adam([theirs], lr=0.1 * ADAM_SHARE)
    for step in range(4):
        for weight in (ours, theirs):
            weight.grad = torch.sin(weight.detach() * (step + 2))
        muon.step()
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_kernel_of_any_scale_of_gradient_moves_alike():
    moved = []
    for scale in (1e-3, 1e3):
        kernel = nn.Parameter(torch.zeros(16, 8, 3, 3, 3))
        kernel.grad = scale * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(2))
        Muon([kernel], lr=0.1).step()
        moved.append(kernel.detach())
    assert torch.allclose(*moved, atol=1e-4)
    assert moved[0].norm() == pytest.approx(0.1 * 16**0.5, rel=0.3)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    dataset = open_dataset(write_toy(tmp_path / "toy", cases=2))
    recipe = Recipe(optimizer="muon", learning_rate=2e-2)
    options = TrainingOptions(steps=4, validations=0, fold=None, device="cpu", recipe=recipe)

    def stop(done, total, message, /):
        if message.startswith("training") and done == 2:
            raise Cancelled("enough")

    train(dataset, tmp_path / "whole", options=options, plan=TOY_PLAN)
    with pytest.raises(Cancelled):
        train(dataset, tmp_path / "stopped", options=options, plan=TOY_PLAN, progress=stop)
    train(None, tmp_path / "stopped", resume=True)
    whole, stopped = (
        load_file(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "stopped")
    )
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_what_is_no_kernel_has_adams_two_means():
    network = nn.Sequential(nn.Conv3d(8, 16, 3), nn.GroupNorm(16, 16), nn.Conv3d(16, 3, 1))
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    muon = build_optimizer(network, Recipe(optimizer="muon"), fused=False)
    muon.step()
    slots = [set(muon.state[weight]) for weight in network.parameters()]
    assert slots[0] == {"momentum"}
    assert all(slot == {"step", "mean", "square"} for slot in slots[1:])
