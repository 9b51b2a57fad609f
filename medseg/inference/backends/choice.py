"""Which library runs a model fastest on this machine, measured once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from filelock import FileLock
from torch import Tensor

from medseg.errors import InputError
from medseg.inference.backends.compiled import LIBRARIES, Compilation, version
from medseg.inference.backends.protocol import Runs
from medseg.inference.estimate import timed
from medseg.model_package.backend_choice import Choice, read_choice
from medseg.runtime.processor import processor_name
from medseg.writing import write_bytes

LARGEST_SHARE = 1e-3
"""Share of a tile's voxels whose label may be another than torch's in float32; where torch's own
16-bit numbers change more of them, that share."""
PAYS = 0.9
"""Most time a tile may take, as a share of torch's, for a library to be taken in its place."""
ROUNDS = 2
"""How often each is measured, in turn, after a first time; the shortest counts."""
LEAST_LABELLED = 1e-3
"""Share of a tile's voxels that have a label, for the tile to be one to compare labels on."""


@dataclass(frozen=True)
class Trial:
    """A model that has to find its library on this machine.

    Parameters
    ----------
    compilation : Compilation
    """

    compilation: Compilation

    @property
    def key(self) -> dict[str, str]:
        """What a choice holds for, besides model and code."""
        versions = {name: version(name) for name in LIBRARIES}
        return {
            "processor": processor_name(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "device": self.compilation.device.description,
            **versions,
        }

    @property
    def _file(self) -> Path:
        digest = hashlib.sha256(msgspec.json.encode(self.key, order="sorted")).hexdigest()
        return self.compilation.folder / f"choice-{digest[:16]}.json"

    def kept(self) -> Choice | None:
        """The choice that was made before, if there is one and it can be read."""
        return read_choice(self._file)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other process measures the same."""
        with FileLock(self._file.with_suffix(".lock")):
            yield

    def measure(self, tile_BCIJK: Tensor, *, regions: bool) -> tuple[Choice, Runs | None]:
        """Find the fastest on one tile, and keep the answer.

        Parameters
        ----------
        tile_BCIJK : torch.Tensor
            One tile of a scan, on the CPU.
        regions : bool
            Whether logits are those of regions.

        Returns
        -------
        choice : Choice
        runner : callable or None
            What was taken, or None for torch.
        """
        network, device = self.compilation.network, self.compilation.device
        runners, failed = self._runners()

        def by_torch(tile: Tensor) -> Tensor:
            with device.autocast():
                logits: Tensor = network(tile)
            return logits

        ways: dict[str, Runs] = {"torch": by_torch, **runners}
        with torch.autocast("cpu", enabled=False):
            truth = labels_of(network(tile_BCIJK), regions=regions)
            share = {
                name: differing(labels_of(way(tile_BCIJK), regions=regions), truth)
                for name, way in ways.items()
            }
            seconds = _seconds(ways, tile_BCIJK)
        taken = fastest(seconds, share)
        choice = Choice(backend=taken, seconds=seconds, share=share, failed=failed, key=self.key)
        with suppress(InputError, OSError):
            write_bytes(self._file, msgspec.json.format(msgspec.json.encode(choice)))
        return choice, runners.get(taken)

    def _runners(self) -> tuple[dict[str, Runs], dict[str, str]]:
        """The libraries that are installed, ready to run, and why others are not."""
        runners: dict[str, Runs] = {}
        failed: dict[str, str] = {}
        for name in installed():
            try:
                runners[name] = self.compilation.runner(name)
            except InputError as error:
                failed[name] = str(error)
        return runners, failed


def installed() -> list[str]:
    """The libraries that are here."""
    return [name for name in LIBRARIES if version(name)]


def fastest(seconds: Mapping[str, float], share: Mapping[str, float]) -> str:
    """The library to take: torch, unless one whose labels are torch's is clearly faster.

    Parameters
    ----------
    seconds, share : mapping of str to float
        As in a `Choice`.
    """
    most = max(LARGEST_SHARE, share["torch"])
    allowed = [name for name in seconds if share[name] <= most]
    best = min(allowed, key=lambda name: seconds[name])
    return best if seconds[best] <= PAYS * seconds["torch"] else "torch"


def labels_of(logits_BLIJK: Tensor, *, regions: bool) -> Tensor:
    """Class of every voxel, shape (B, I, J, K); of regions whether each is there, with their axis.

    Parameters
    ----------
    logits_BLIJK : torch.Tensor
    regions : bool
    """
    return logits_BLIJK > 0 if regions else logits_BLIJK.argmax(dim=1)


def differing(labels: Tensor, truth: Tensor) -> float:
    """Share of entries that are not equal, 0 to 1."""
    return float((labels != truth).float().mean())


def has_labels(logits_BLIJK: Tensor, *, regions: bool) -> bool:
    """Whether a tile has labels enough to be compared on."""
    labelled = labels_of(logits_BLIJK, regions=regions) != 0
    return float(labelled.float().mean()) >= LEAST_LABELLED


def _seconds(ways: Mapping[str, Callable[[Tensor], Tensor]], tile: Tensor) -> dict[str, float]:
    """The shortest time of each, measured in turn."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name] = min(seconds[name], timed(lambda way=way: way(tile)))  # type: ignore[misc]
    return seconds
