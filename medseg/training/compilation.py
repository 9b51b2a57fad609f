"""Whether compiling the network pays within a run: tried on a batch of it, and said in a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import reason
from medseg.training.step import TrainingStep

BUILD_S = 60.0
"""Seconds that compiling a U-Net's step takes on a GPU; no more is known before it was tried."""
LEAST_GAIN = 0.1
"""Share by which a step has to become shorter; it is tried where that is worth `BUILD_S`."""
REPEATS = 3
Compiler = Callable[[nn.Module], Callable[[Tensor], Any]]


def is_worth_a_trial(step: TrainingStep, left_s: float) -> bool:
    """Whether a run is long enough, and its device has a compiler that is known to help.

    Parameters
    ----------
    step : TrainingStep
    left_s : float
        Seconds of steps that are left.
    """
    on_gpu = step.device.torch_device.type == "cuda"
    return on_gpu and step.fabric.world_size == 1 and left_s * LEAST_GAIN > BUILD_S


def compile_where_faster(
    step: TrainingStep,
    gradients: Callable[[], Tensor],
    *,
    tell: Callable[[str], None],
    compiler: Compiler = torch.compile,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Let a step run the compiled network, if that is faster; the network itself stays as it is.

    Parameters
    ----------
    step : TrainingStep
    gradients : callable
        Computes those of a batch with `step`; no weight is changed by it.
    tell : callable
        Told in a sentence what came of it.
    compiler : callable, optional
        Gives a faster form of a network.
    clock : callable, optional
        Seconds.
    """
    plain, network = step.forward, step.module.module
    with _same_buffers(network):
        before_s = _seconds(gradients, clock)
        try:
            step.forward = _in_precision(step, compiler(network))
            start = clock()
            gradients().tolist()
            build_s = clock() - start
            after_s = _seconds(gradients, clock)
        except Exception as error:  # noqa: BLE001 - a compiler may raise anything
            step.forward = plain
            tell(f"The network could not be compiled ({reason(error)}); it is trained without.")
            return
    times = f"a step takes {after_s * 1e3:.0f} ms in place of {before_s * 1e3:.0f} ms"
    if after_s > (1 - LEAST_GAIN) * before_s:
        step.forward = plain
        tell(f"The network is trained without a compiler: with one {times}.")
    else:
        tell(f"The network was compiled in {build_s:.0f} s: {times}.")


def _in_precision(step: TrainingStep, forward: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """A network's form under the precision of the run."""

    def run(image_BCIJK: Tensor) -> Any:
        with step.fabric.autocast():
            return forward(image_BCIJK)

    return run


def _seconds(gradients: Callable[[], Tensor], clock: Callable[[], float]) -> float:
    """Time of a step, waiting for the device; the first one is for what only it waits for."""
    gradients().tolist()
    start = clock()
    for _ in range(REPEATS):
        gradients().tolist()
    return (clock() - start) / REPEATS


@contextmanager
def _same_buffers(network: nn.Module) -> Iterator[None]:
    """Statistics of batch normalisation, which a trial leaves as they were."""
    kept = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(network.buffers(), kept, strict=True):
            buffer.copy_(value)
