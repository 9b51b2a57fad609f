"""Several processes at one training, each with a device: how they meet, and what they share."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from medseg.errors import MedsegError
from medseg.runtime.device import Device, choose_device
from medseg.training.ranks import ranks

_PRECISION: dict[torch.dtype | None, Any] = {
    torch.bfloat16: "bf16-mixed",
    torch.float16: "16-mixed",
    None: "32-true",
}
_TIMEOUT = dt.timedelta(days=7)
"""How long others wait while the first process prepares or measures; one that ends ends them."""
_GONE = ("connection closed", "connection reset", "broken pipe", "gloo", "nccl", "tcpstore")
"""Of what is said when another process has ended, in lower case."""


def device_here(name: str) -> Device:
    """The device of this process: of several GPUs of a machine each takes its own.

    Raises
    ------
    InputError
        When it is not there.
    """
    device, here = choose_device(name), ranks()
    if here.size > 1 and device.torch_device.type == "cuda":
        return choose_device(f"cuda:{here.local_rank}")
    return device


def fabric_on(device: Device) -> Fabric:
    """Fabric on a device, in its precision; it waits until all processes are there."""
    kind, here, precision = device.torch_device, ranks(), _PRECISION[device.half]
    if here.size == 1:
        devices: Any = [kind.index or 0] if kind.type == "cuda" else 1
        return Fabric(accelerator=kind.type, devices=devices, precision=precision)
    backend = "cpu:gloo,cuda:nccl" if kind.type == "cuda" else "gloo"
    fabric = Fabric(
        accelerator=kind.type,
        devices=here.local_size,
        num_nodes=here.size // here.local_size,
        strategy=DDPStrategy(process_group_backend=backend, timeout=_TIMEOUT),
        precision=precision,
    )
    fabric.launch()
    return fabric


def rank_mean(fabric: Fabric, value: Tensor) -> Tensor:
    """The mean of a number over all processes."""
    if fabric.world_size == 1:
        return value
    mean = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(mean, Tensor)
    return mean


def from_leader(fabric: Fabric, *numbers: float) -> Sequence[float]:
    """Numbers as the first process has them; the others wait for it."""
    if fabric.world_size == 1:
        return numbers
    shared = torch.tensor(numbers, dtype=torch.float64)
    torch.distributed.broadcast(shared, src=0)
    values: list[float] = shared.tolist()
    return values


@contextmanager
def ending_together(fabric: Fabric) -> Iterator[None]:
    """Work that all processes do; when one of them ends early, so do the others.

    Raises
    ------
    MedsegError
        In the first process, when another one is gone. The others end without a word.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not any(phrase in str(error).lower() for phrase in _GONE):
            raise
        if fabric.global_rank:
            raise SystemExit(1) from error
        raise MedsegError(
            f"another of the {fabric.world_size} processes of this training ended; what it said"
            " stands above, and the last checkpoint is kept: go on with --resume",
            code="PROCESS_LOST",
        ) from error


def leave(fabric: Fabric) -> None:
    """Part from the other processes."""
    if fabric.world_size > 1:
        torch.distributed.destroy_process_group()


def start_processes(count: int, arguments: Sequence[str]) -> int:
    """Run a medseg command in several processes of this machine, as torchrun does.

    Parameters
    ----------
    count : int
    arguments : sequence of str
        Of the command.

    Returns
    -------
    int
        Exit code: of the first process that failed, or 0.
    """
    import logging

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="medseg",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "medseg_pipelines", *arguments)
    except ChildFailedError as error:
        return error.get_first_failure()[1].exitcode
    except (SignalException, KeyboardInterrupt):
        return 130
    return 0
