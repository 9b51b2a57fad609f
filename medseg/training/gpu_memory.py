"""The memory of a GPU: how much a run may take, what a step takes, and what is said without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medseg.errors import InputError, MedsegError, reason
from medseg.runtime.device import Device

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_LOST = (
    "cuda error",
    "device-side",
    "device lost",
    "unspecified launch failure",
    "cudnn_status",
    "cublas_status",
)
"""Of what CUDA says when a GPU has failed, in lower case; out of memory is none of these."""


def bytes_of(text: str) -> int:
    """Bytes of a size such as ``8G``, ``800M`` or ``8000000000``; G is 2**30.

    Raises
    ------
    InputError
        When it is no such size, or nothing.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise InputError(f"'{text}' is no size of memory; write it such as 8G, 800M or 8000000000")
    return size


def in_words(size: int) -> str:
    """Bytes for a person."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def limit_memory(device: Device, size: int | None) -> None:
    """Let this process take no more than `size` bytes of a GPU; None and a CPU change nothing.

    Raises
    ------
    InputError
        When the GPU has less.
    """
    if size is None or device.torch_device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(device.torch_device).total_memory
    if size > total:
        raise InputError(
            f"--gpu-memory {in_words(size)} is more than the {in_words(total)} of"
            f" {device.description}; give less, or leave it out"
        )
    torch.cuda.set_per_process_memory_fraction(size / total, device.torch_device)


def peak_sentence(device: Device, patches: int, limit: int | None) -> str:
    """What the first step took of a GPU, for a person; empty on a CPU."""
    if device.torch_device.type != "cuda":
        return ""
    peak = torch.cuda.max_memory_reserved(device.torch_device)
    total = limit or torch.cuda.get_device_properties(device.torch_device).total_memory
    return f"A step of {patches} patches takes {in_words(peak)} of {in_words(total)}."


def too_small(
    device: Device, patches: int, patch: tuple[int, int, int], limit: int | None
) -> MedsegError:
    """The error when so many patches do not fit at once, and fewer cannot be taken."""
    size = " x ".join(map(str, patch))
    count = "one patch" if patches == 1 else f"{patches} patches"
    allowed = f" within --gpu-memory {in_words(limit)}" if limit else ""
    fewer = "" if patches == 1 else "a smaller --batch, "
    return MedsegError(
        f"a training step of {count} of {size} voxels does not fit into the memory of"
        f" {device.description}{allowed}; take {fewer}a network with fewer channels (--set), a plan"
        " with a smaller patch (--plan), or --device cpu",
        code="OUT_OF_MEMORY",
    )


@contextmanager
def explain_lost_gpu(device: Device) -> Iterator[None]:
    """Work on a device, whose failure becomes one sentence.

    Raises
    ------
    MedsegError
        When the GPU has failed.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(phrase in str(error).lower() for phrase in _LOST):
            raise
        raise MedsegError(
            f"the GPU was lost ({reason(error)}) while training on {device.description}; the last"
            " checkpoint is kept: go on with --resume, on another device with --device cuda:1 or"
            " cpu",
            code="DEVICE_LOST",
        ) from error
