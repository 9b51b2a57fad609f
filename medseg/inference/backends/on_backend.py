"""A network whose tiles of the plan's size are run by another library."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.errors import InputError
from medseg.inference.backends.choice import Trial, has_labels, installed
from medseg.inference.backends.compiled import LIBRARIES, Compilation, version
from medseg.inference.backends.protocol import Runs
from medseg.model_package.backend_choice import Choice
from medseg.runtime.device import Device, choose_device

BACKENDS = ("torch", *LIBRARIES, "auto")
"""What a person may ask for."""


class OnBackend(nn.Module):
    """Tiles of the plan's size go to a library, or to a trial first; all others to torch.

    Tiles have another size when memory ran out and they were made smaller.

    Parameters
    ----------
    compilation : Compilation
    runner : callable, optional
        Runs a tile; torch does when there is none.
    description : str
        Which library it is, for a person.
    trial : Trial, optional
        Chooses the runner at the first tile that has labels.
    """

    def __init__(
        self,
        compilation: Compilation,
        runner: Runs | None = None,
        *,
        description: str = "",
        trial: Trial | None = None,
    ) -> None:
        super().__init__()
        self.network = compilation.network
        self.size = compilation.size
        self.regions = bool(compilation.package.manifest.plan.regions)
        self.runner, self.description, self.trial = runner, description, trial

    def forward(self, tiles: Tensor) -> Tensor:
        """Logits; shape (B, L, I, J, K).

        Parameters
        ----------
        tiles : Tensor, shape (B, C, I, J, K)
        """
        if tiles.shape[1:] == self.size and tiles.device.type == "cpu":
            if self.trial is not None:
                return self._tried(self.trial, tiles)
            if self.runner is not None:
                parts = [self.runner(tile) for tile in tiles.split(1)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
        logits: Tensor = self.network(tiles)
        return logits

    def _tried(self, trial: Trial, tiles: Tensor) -> Tensor:
        """Logits by torch; labels in them make this the tile that decides for those to come."""
        logits: Tensor = self.network(tiles)
        if has_labels(logits, regions=self.regions):
            with trial.alone():
                choice = trial.kept()
                if choice is None:
                    choice, runner = trial.measure(tiles[:1], regions=self.regions)
                    self._take(runner, str(choice))
                else:
                    self._take(*_kept(trial.compilation, choice))
        return logits

    def _take(self, runner: Runs | None, description: str) -> None:
        self.runner, self.description, self.trial = runner, description, None


def on_backend(compilation: Compilation, name: str) -> nn.Module:
    """A model's network, run by the library called `name`.

    Parameters
    ----------
    compilation : Compilation
    name : str
        One of `BACKENDS`. ``"auto"`` takes what was measured before, or measures at the first tile
        with labels; on another device than the CPU it is torch.

    Raises
    ------
    InputError
        When the library that is named is not installed or cannot run the network.
    """
    on_cpu = compilation.device.torch_device.type == "cpu"
    if name == "torch" or (name == "auto" and not on_cpu):
        return compilation.network
    if name != "auto":
        runner = compilation.runner(name)
        return OnBackend(compilation, runner, description=f"{name} {version(name)}")
    if not installed():
        return OnBackend(
            compilation, description="torch (neither openvino nor onnxruntime is installed)"
        )
    trial = Trial(compilation)
    choice = trial.kept()
    if choice is None:
        return OnBackend(
            compilation, trial=trial, description="torch (no tile had labels to compare)"
        )
    runner_kept, description = _kept(compilation, choice)
    return OnBackend(compilation, runner_kept, description=description)


def device_for(backend: str, device: str) -> Device:
    """The device for a backend: where any would do, the CPU for a library that has no other.

    Parameters
    ----------
    backend : str
        One of `BACKENDS`.
    device : str
        As for :func:`medseg.runtime.device.choose_device`.

    Raises
    ------
    InputError
        When the backend is unknown, or cannot run on the device.
    """
    if backend not in BACKENDS:
        raise InputError(
            f"unknown backend '{backend}'; choose one of: {', '.join(BACKENDS)}", code="BACKEND"
        )
    if backend not in LIBRARIES:
        return choose_device(device)
    if device.partition(":")[0] not in {"auto", "cpu"}:
        raise InputError(
            f"backend '{backend}' runs on the CPU and the device is '{device}'; take the device cpu"
            " or the backend torch",
            code="BACKEND",
        )
    return choose_device("cpu" if device == "auto" else device)


def backend_of(network: nn.Module) -> str:
    """Which library runs a predictor's network and why; empty where only torch was asked for."""
    parts = (module for module in network.modules() if isinstance(module, OnBackend))
    return next((part.description for part in parts), "")


def _kept(compilation: Compilation, choice: Choice) -> tuple[Runs | None, str]:
    """The runner of a choice that was made before; torch where it cannot be had any more."""
    if choice.backend == "torch":
        return None, str(choice)
    try:
        return compilation.runner(choice.backend), str(choice)
    except InputError as error:
        return None, f"torch ({error})"
