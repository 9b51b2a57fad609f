"""Which device to compute on, its description for a person, and its fast number format."""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass

import torch
from torch import nn

from medseg.errors import InputError


@dataclass(frozen=True)
class Device:
    """A device and how to use it well.

    Parameters
    ----------
    torch_device : torch.device
    half : torch.dtype or None
        The 16-bit format that is faster than float32 here, or None.
    description : str
        For a person, such as ``"CPU, 2 threads, bfloat16"``.
    """

    torch_device: torch.device
    half: torch.dtype | None
    description: str

    def autocast(self) -> torch.autocast:
        """Context in which convolutions run in `half` (or nothing happens)."""
        return torch.autocast(
            self.torch_device.type, dtype=self.half, enabled=self.half is not None
        )

    def as_nnunet(self) -> Device:
        """The number format that nnU-Net computes in here: float32 on a CPU."""
        return _cpu_in("float32") if self.torch_device.type == "cpu" else self


def choose_device(name: str = "auto") -> Device:
    """The device called `name`; ``"auto"`` takes CUDA, then the CPU.

    Parameters
    ----------
    name : str, default "auto"
        ``"auto"``, ``"cpu"``, ``"cpu:float32"``, ``"cpu:bfloat16"``, ``"cuda"``, ``"cuda:1"`` or
        ``"mps"``.

    Raises
    ------
    InputError
        When it is not a device of this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.split(":")[0]
    if kind == "cpu":
        return _cpu_in(name.partition(":")[2])
    if kind == "cuda" and torch.cuda.is_available():
        return _cuda(name)
    if kind == "mps" and torch.backends.mps.is_available():
        return Device(torch.device("mps"), None, "Apple GPU (mps), float32")
    devices = "cpu" + (", cuda" if torch.cuda.is_available() else "")
    raise InputError(
        f"device '{name}' is not available on this machine; use one of: auto, {devices}",
        code="NO_DEVICE",
    )


def _cuda(name: str) -> Device:
    device = torch.device(name)
    index = device.index or 0
    if index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device '{name}' does not exist; this machine has {count} CUDA device(s)")
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    free, total = torch.cuda.mem_get_info(index)
    description = f"{torch.cuda.get_device_name(index)} ({name}), {free / 2**30:.0f} of "
    description += f"{total / 2**30:.0f} GiB free, {str(half).removeprefix('torch.')}"
    return Device(device, half, description)


def _cpu_in(number_format: str) -> Device:
    """The CPU in a number format; the fastest it has when empty."""
    fastest = _cpu()
    if number_format == "float32":
        described = fastest.description.replace("bfloat16", "float32")
        return Device(fastest.torch_device, None, described)
    if number_format not in {"", "bfloat16"} or (number_format and fastest.half is None):
        has = "float32" if fastest.half is None else "float32 and bfloat16"
        raise InputError(
            f"device 'cpu:{number_format}': this processor is used in {has}; take cpu:float32, or"
            " cpu for the fastest",
            code="NO_DEVICE",
        )
    return fastest


@functools.cache
def _cpu() -> Device:
    keep_pages()
    half = torch.bfloat16 if _cpu_has_fast_bfloat16() else None
    count = torch.get_num_threads()
    threads = "1 thread" if count == 1 else f"{count} threads"
    description = f"CPU, {threads}, {'bfloat16' if half else 'float32'}"
    return Device(torch.device("cpu"), half, description)


def _cpu_has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX), and may do so.

    ``ATEN_CPU_CAPABILITY=avx2`` in the environment has torch compute as on a processor without.
    """
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe()) and torch.backends.cpu.get_cpu_capability() == "AVX512"


def channels_last(network: nn.Module) -> nn.Module:
    """`network` with its weights in channels-last order, the faster one for convolutions."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in network.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])
    return network


def keep_pages() -> None:
    """Tell glibc to keep freed memory instead of handing it back: up to 1.6 times faster on a CPU.

    Large activations are otherwise mapped and page-faulted afresh at every layer. It does nothing
    where malloc is not glibc's. See ``mallopt(3)``: M_MMAP_MAX = -4, M_TRIM_THRESHOLD = -1.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)
        mallopt(-1, 2**31 - 1)
