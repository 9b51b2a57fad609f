"""What a training will take: minutes, memory and disk, counted and measured before it is begun."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import msgspec
import torch
from torch import Tensor, nn

from medseg.inference import Predictor
from medseg.inference.estimate import LiveMemory, estimate, measure_tile, timed
from medseg.inference.options import DEFAULT_OPTIONS
from medseg.losses import build_loss
from medseg.networks import build_network
from medseg.planning import Plan
from medseg.planning.fingerprint import fingerprint_of
from medseg.preprocessing.placement import Placement
from medseg.runtime.device import Device, choose_device
from medseg.training.dataset import Dataset
from medseg.training.dataset_check import Look
from medseg.training.options import TrainingOptions
from medseg.training.own_parts import OwnParts
from medseg.training.plan_for_run import plan_for
from medseg.training.recipe import DEFAULT_STEPS
from medseg.training.validation import CASES_ON_THE_WAY
from medseg.volume import Grid

_STATES = 4
"""Of each weight: itself, its gradient, and two moments of AdamW."""
_IMAGE_BYTES = 4


class TrainingEstimate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training will take.

    Parameters
    ----------
    device : str
        On which the numbers were measured.
    patch : tuple of int
        Voxels the network sees at once.
    batch : int
        Patches of a step.
    steps : int
    step_s : float
        Seconds of one step, without the drawing of patches, which goes on beside it.
    training_minutes : float
        `steps` of them.
    measuring_minutes : float
        Held-out cases on the way and at the end: their tiles at the time that one takes.
    memory_bytes : int
        Of a step: weights, gradients, moments, and the most that its tensors take at once.
    cache_bytes : int
        On disk: every case as the network sees it (float32), and its labels (a byte a voxel).
    """

    device: str
    patch: tuple[int, int, int]
    batch: int
    steps: int
    step_s: float
    training_minutes: float
    measuring_minutes: float
    memory_bytes: int
    cache_bytes: int


def estimate_training(
    dataset: Dataset, look: Look, options: TrainingOptions, *, plan: Plan | None = None
) -> TrainingEstimate:
    """Estimate a training of a dataset that was looked at, on the device of the options.

    Parameters
    ----------
    dataset : Dataset
    look : Look
        Without errors.
    options : TrainingOptions
    plan : Plan, optional
        In place of the one that a run would make.
    """
    training, held_out = dataset.fold(options.fold)
    device = choose_device(options.device)
    if plan is None:
        fingerprint = fingerprint_of([look.sketches[case.name] for case in training])
        plan = plan_for(dataset, fingerprint, options, OwnParts(), device)
    network = build_network(plan, classes=plan.outputs(dataset.labels)).to(device.torch_device)
    step_s, memory_bytes = _measure_step(network, plan, device)
    grids = {facts.name: facts.grid for facts in look.report.cases}
    predictor = Predictor(network.eval(), plan, dataset.labels, device)
    measuring_s = _measuring_s(predictor, [grids[case.name] for case in held_out], options)
    steps = options.steps or DEFAULT_STEPS
    return TrainingEstimate(
        device=str(device.torch_device),
        patch=plan.patch,
        batch=plan.batch,
        steps=steps,
        step_s=step_s,
        training_minutes=steps * step_s / 60,
        measuring_minutes=measuring_s / 60,
        memory_bytes=memory_bytes,
        cache_bytes=sum(_cache_bytes(grids[case.name], plan) for case in (*training, *held_out)),
    )


def _measure_step(network: nn.Module, plan: Plan, device: Device) -> tuple[float, int]:
    """Seconds and bytes of a step on noise; the first run is for what only it waits for."""
    loss = build_loss(plan)
    image_BCIJK = torch.rand(
        plan.batch, len(plan.channels), *plan.patch, device=device.torch_device
    )

    def step() -> Tensor:
        logits = network(image_BCIJK)
        levels = logits if isinstance(logits, list) else [logits]
        total = torch.stack([loss(level, torch.zeros_like(level[:, 0])) for level in levels]).sum()
        total.backward()
        return total.detach()

    network.train()
    with LiveMemory() as memory:
        timed(step)
    step_s = timed(step)
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    network.zero_grad(set_to_none=True)
    return step_s, _STATES * weights + memory.peak_bytes


def _measuring_s(predictor: Predictor, grids: Sequence[Grid], options: TrainingOptions) -> float:
    """Seconds of all held-out cases at the end, and of the first ones on the way."""
    if not grids:
        return 0.0
    probe = measure_tile(predictor)
    seconds = [estimate(predictor, grid, DEFAULT_OPTIONS, probe=probe).seconds for grid in grids]
    return sum(seconds) + options.validations * sum(seconds[:CASES_ON_THE_WAY])


def _cache_bytes(grid: Grid, plan: Plan) -> int:
    prepared = prod(Placement.of(grid, plan).prepared.shape)
    return int(prepared * (_IMAGE_BYTES * len(plan.channels) + 1))
