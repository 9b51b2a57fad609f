"""ONNX Runtime, on the CPU, in float32."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def prepare() -> None:
    """Do nothing: it runs wherever it is installed."""


class Runner:
    """A network for tiles of one size; see :class:`medseg.inference.backends.openvino.Runner`.

    Parameters
    ----------
    path : Path
    size : tuple of int
    half : bool
        Changes nothing: there are no 16-bit convolutions for the CPU here.
    """

    def __init__(self, path: Path, size: tuple[int, ...], *, half: bool) -> None:
        import onnxruntime

        del size, half
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # threads that wait actively take the processor from other processes of a batch
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, tile_BCIJK: Tensor) -> Tensor:
        """Logits of one tile; shape (1, L, I, J, K), float32.

        Parameters
        ----------
        tile_BCIJK : torch.Tensor
            On the CPU.
        """
        image = tile_BCIJK.float().contiguous().numpy()
        return torch.from_numpy(self._session.run(["logits"], {"image": image})[0])
