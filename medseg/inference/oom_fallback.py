"""What to do when a device runs out of memory: the same work in a smaller way, and saying so."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from medseg.errors import InputError
from medseg.inference.tiling import Triple
from medseg.runtime.device import Device, choose_device
from medseg.runtime.free_memory import free_memory_bytes

Result = TypeVar("Result")
_LEAST_VOXELS = 32
"""Axes of a tile are not made shorter than this: networks need to see around."""
_PHRASES = ("out of memory", "allocate memory", "not enough memory", "bad_alloc")


@dataclass(frozen=True)
class Fallback:
    """One way of running a network over a volume.

    Parameters
    ----------
    device : Device
    sums_on : torch.device
        Where logits of overlapping tiles are added up and turned into labels.
    tile : tuple of int
        Voxels the network sees at once.
    message : str
        What is different from the usual way, for a person; empty for the usual way.
    reason : str
        Why, for a person.
    """

    device: Device
    sums_on: torch.device
    tile: Triple
    message: str = ""
    reason: str = "memory ran out while segmenting"


def fallbacks(device: Device, tile: Triple) -> Iterator[Fallback]:
    """Ways to try, the usual one first; each needs less of the device's memory than the one before.

    Less overlap is no way: tiles run one at a time, so it saves time and no memory.

    Yields
    ------
    Fallback
        Adding up in main memory changes no label. Smaller tiles see less around, so labels may
        differ a little; the CPU only takes longer.
    """
    default = Fallback(device, device.torch_device, tile)
    yield default
    cpu = torch.device("cpu")
    on_accelerator = device.torch_device.type != "cpu"
    if on_accelerator:
        yield replace(default, sums_on=cpu, message="tiles were added up in main memory")
    i, j, k = (max(n // 2, min(n, _LEAST_VOXELS)) for n in tile)
    smaller = (i, j, k)
    if smaller != tile:
        size = " x ".join(map(str, smaller))
        message = f"tiles were made smaller ({size} voxels), so labels may differ a little"
        yield replace(default, sums_on=cpu, tile=smaller, message=message)
    if on_accelerator:
        yield Fallback(choose_device("cpu"), cpu, tile, "the CPU was used, which takes longer")


def that_fit(
    attempts: Iterator[Fallback], needed_bytes: Callable[[Fallback], int | None]
) -> Iterator[Fallback]:
    """Those of some ways for which main memory suffices now, by what they are known to need.

    Parameters
    ----------
    attempts : iterator of Fallback
    needed_bytes : callable
        Main memory that a way takes; None when that is not known, which counts as fitting.

    Raises
    ------
    InputError
        When none of them fits.
    """
    too_large: list[int] = []
    tried = False
    for attempt in attempts:
        needed, free = needed_bytes(attempt), free_memory_bytes()
        if needed is None or free is None or needed <= free:
            tried = True
            reason = f"{gigabytes(too_large[0])} of memory would be needed" if too_large else ""
            yield replace(attempt, reason=reason or attempt.reason)
        else:
            too_large.append(needed)
    if not tried:
        raise InputError(
            f"segmenting takes about {gigabytes(min(too_large))} of memory and"
            f" {gigabytes(free_memory_bytes() or 0)} are free; end other programs, look at a box"
            " only, or take a machine with more memory",
            code="OUT_OF_MEMORY",
        )


def check_free(needed_bytes: int, what: str) -> None:
    """Refuse what cannot fit into main memory.

    Parameters
    ----------
    needed_bytes : int
    what : str
        Takes them, for a person.

    Raises
    ------
    InputError
        With both numbers.
    """
    free = free_memory_bytes()
    if free is not None and needed_bytes > free:
        raise InputError(
            f"{what} take {gigabytes(needed_bytes)} of memory and {gigabytes(free)} are free; end"
            " other programs, cut the scan, or take a machine with more memory",
            code="OUT_OF_MEMORY",
        )


def gigabytes(size_bytes: int) -> str:
    """A size for a person."""
    return f"{size_bytes / 1e9:.1f} GB"


def run_with_fallback(
    attempts: Iterator[Fallback], work: Callable[[Fallback], Result]
) -> tuple[Result, tuple[str, ...]]:
    """The result of the first attempt for which the memory suffices.

    Returns
    -------
    result
        Of `work`.
    notes : tuple of str
        One sentence when the usual way did not fit, else empty.

    Raises
    ------
    RuntimeError, MemoryError
        What the last attempt raised.
    """
    failure: BaseException | None = None
    for attempt in attempts:
        try:
            result = work(attempt)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = error.with_traceback(None)  # its frames hold the tensors
        else:
            note = f"{attempt.reason}: {attempt.message}"
            return result, (note,) if attempt.message else ()
        free_memory()
    assert failure is not None
    raise failure


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this computer, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


def free_memory() -> None:
    """Give back the memory of what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
