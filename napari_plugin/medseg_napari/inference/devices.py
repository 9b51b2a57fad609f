"""The devices of this machine in plain words, and what a run on one of them will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from medseg.runtime.processor import core_count
from medseg_napari.display_settings import setting
from medseg_napari.progress_text import duration

if TYPE_CHECKING:
    from medseg.inference import Estimate

_GB = 1e9


class DeviceChoice(NamedTuple):
    """A device as the person reads it and as the library calls it."""

    text: str
    name: str


def device_choices() -> list[DeviceChoice]:
    """The devices of this machine in plain words, the best one first; imports torch."""
    from medseg.runtime.device import choose_device

    leave_a_core_free()
    best = choose_device("auto")
    if best.torch_device.type == "cpu":
        return [DeviceChoice(f"{best.description} (no GPU found)", "auto")]
    return [
        DeviceChoice(best.description, "auto"),
        DeviceChoice(choose_device("cpu").description, "cpu"),
    ]


def leave_a_core_free() -> None:
    """Let torch compute on all processor cores but one, so that the window stays quick."""
    import torch

    torch.set_num_threads(max(1, min(torch.get_num_threads(), core_count() - 1)))


def limit_memory(device: str) -> None:
    """Keep torch within the memory of a GPU that the preferences allow, if they say any."""
    import torch

    from medseg.runtime.device import choose_device

    torch_device, limit = choose_device(device).torch_device, _memory_limit_bytes()
    if torch_device.type == "cuda" and limit:
        total = torch.cuda.get_device_properties(torch_device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(limit / total, 1.0), torch_device)


def _memory_limit_bytes() -> int:
    """The most memory to use by the preferences; 0 when they leave it to medseg."""
    return int(float(setting("inference", "max_memory_gb")) * _GB)


@dataclass(frozen=True)
class Forecast:
    """What a run will take, and what there is.

    Parameters
    ----------
    estimate : Estimate
    on_cpu : bool
        Whether the device is the CPU, so that all memory is main memory.
    free_device_bytes, free_main_bytes : int
        Memory that is free now.
    """

    estimate: Estimate
    on_cpu: bool
    free_device_bytes: int
    free_main_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the memory that is free now is enough for the usual way."""
        needed, main = self.estimate.device_bytes, self.estimate.main_bytes
        if self.on_cpu:
            return needed + main <= self.free_main_bytes
        return needed <= self.free_device_bytes and main <= self.free_main_bytes

    @property
    def text(self) -> str:
        """Tiles, time and memory, for a person."""
        estimate = self.estimate
        count = "1 tile" if estimate.tiles == 1 else f"{estimate.tiles} tiles"
        text = f"About {duration(estimate.seconds)} for {count}; {self._memory()}"
        if self.fits:
            return text + "."
        return text + ": too little, so smaller steps or the CPU will be taken; a box needs less."

    def _memory(self) -> str:
        estimate = self.estimate
        if self.on_cpu:
            needed, free = estimate.device_bytes + estimate.main_bytes, self.free_main_bytes
            return f"needs about {_size(needed)} of memory, {_size(free)} are free"
        return (
            f"needs about {_size(estimate.device_bytes)} of the GPU's memory,"
            f" {_size(self.free_device_bytes)} are free"
        )


def forecast(estimate: Estimate, device: str) -> Forecast:
    """An estimate beside what is free on a device now."""
    import psutil  # type: ignore[import-untyped]
    import torch

    from medseg.runtime.device import choose_device

    torch_device = choose_device(device).torch_device
    main = int(psutil.virtual_memory().available)
    free = int(torch.cuda.mem_get_info(torch_device)[0]) if torch_device.type == "cuda" else main
    free = min(free, _memory_limit_bytes() or free)
    main = free if torch_device.type == "cpu" else main
    return Forecast(estimate, torch_device.type == "cpu", free, main)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _GB:.1f} GB" if size_bytes < 20 * _GB else f"{size_bytes / _GB:.0f} GB"
