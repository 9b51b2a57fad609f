"""OpenVINO: compiles a network for the processor of this machine."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.errors import InputError

_CRASHES = "ONEDNN_MAX_CPU_ISA"
"""A variable that lets OpenVINO 2026.4 end the process where it forbids what the processor has."""


def prepare() -> None:
    """Raise `InputError` where OpenVINO would end the process."""
    if os.environ.get(_CRASHES):
        raise InputError(
            f"OpenVINO crashes under the environment's {_CRASHES}={os.environ[_CRASHES]}; unset it",
            code="BACKEND",
        )


class Runner:
    """A network that was compiled for tiles of one size.

    Parameters
    ----------
    path : Path
        ONNX file, from ``image`` of any number of tiles to ``logits``.
    size : tuple of int
        Channels and voxels of a tile.
    half : bool
        Whether to compute in bfloat16, where the processor has it.
    """

    def __init__(self, path: Path, size: tuple[int, ...], *, half: bool) -> None:
        openvino = without_telemetry()
        core = openvino.Core()
        model = core.read_model(path)
        model.reshape([1, *size])
        compiled = core.compile_model(model, "CPU", _settings(path.parent, half=half))
        self._request = compiled.create_infer_request()
        self._tensor = openvino.Tensor
        self._shape = tuple(compiled.output(0).shape)
        self._one_at_a_time = threading.Lock()

    def __call__(self, tile_BCIJK: Tensor) -> Tensor:
        """Logits of one tile; shape (1, L, I, J, K), float32.

        Parameters
        ----------
        tile_BCIJK : torch.Tensor
            One tile, on the CPU.
        """
        image = tile_BCIJK.float().contiguous().numpy()
        logits_BLIJK = torch.empty(self._shape)
        with self._one_at_a_time:
            self._request.set_input_tensor(self._tensor(image, shared_memory=True))
            output = self._tensor(logits_BLIJK.numpy(), shared_memory=True)
            self._request.set_output_tensor(output)
            self._request.infer()
        return logits_BLIJK


def without_telemetry() -> Any:
    """The library, imported so that it reports nothing over the network.

    It depends on ``openvino-telemetry``, which tells its makers of every import unless the person
    has opted out.
    """
    telemetry = "openvino_telemetry"
    before = sys.modules.get(telemetry)
    sys.modules[telemetry] = None  # type: ignore[assignment] # which makes its import fail
    try:
        import openvino
    finally:
        del sys.modules[telemetry]
        if before is not None:
            sys.modules[telemetry] = before
    return openvino


def _settings(folder: Path, *, half: bool) -> dict[str, Any]:
    """For one tile after another: all threads on it, and none bound to a core.

    OpenVINO binds threads to the first cores unless told otherwise, and with them those of every
    other process of a batch.
    """
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "CACHE_DIR": str(folder),
    }
