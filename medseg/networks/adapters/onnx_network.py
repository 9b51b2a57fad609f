"""A network in an ONNX file, run by onnxruntime on the CPU, as a module of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.errors import PackageError, reason


class OnnxNetwork(nn.Module):
    """From one image to one map of channels, both float32, of any number of axes.

    Parameters
    ----------
    data : bytes
        Of the file, all of it: weights in files beside it are not read.

    Raises
    ------
    PackageError
        When onnxruntime is not installed, cannot read the file, or it takes or gives several
        tensors.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise PackageError(
                "the model is an ONNX file; to run it: pip install 'medseg[models]'",
                code="NOT_INSTALLED",
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has errors of its own, of no common type
            raise PackageError(
                f"the ONNX file cannot be read: {reason(error)}; copy the model again",
                code="DAMAGED",
            ) from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise PackageError(
                f"the ONNX file takes {len(inputs)} tensors and gives {len(outputs)}; medseg takes"
                " networks from one to one",
                code="CHANNELS",
            )
        self.input, self.output = inputs[0], outputs[0]

    @property
    def axes(self) -> int:
        """How many axes the image has, with batch and channels."""
        return len(self.input.shape)

    def forward(self, image: Tensor) -> Tensor:
        fixed = self.input.shape[0]
        parts = image.split(fixed) if isinstance(fixed, int) else [image]
        return torch.cat([self._run(part) for part in parts]).to(image.device)

    def _run(self, image: Tensor) -> Tensor:
        array = np.ascontiguousarray(image.detach().float().cpu().numpy())
        (answer,) = self.session.run([self.output.name], {self.input.name: array})
        return torch.from_numpy(np.asarray(answer, np.float32))

    def check(self, *, channels: int, outputs: int, spatial: tuple[int, ...]) -> None:
        """Refuse a file that does not fit what is said of it.

        Parameters
        ----------
        channels, outputs : int
            Of the image and of the answer.
        spatial : tuple of int
            Sizes that it will be given.

        Raises
        ------
        PackageError
            When a size that the file fixes is another one.
        """
        expected = (("takes", self.input.shape, channels), ("gives", self.output.shape, outputs))
        for verb, shape, count in expected:
            if len(shape) > 1 and isinstance(shape[1], int) and shape[1] != count:
                raise PackageError(
                    f"the ONNX file {verb} {shape[1]} channel(s) and its description says {count}",
                    code="CHANNELS",
                )
        fixed: list[Any] = list(self.input.shape[2:])
        if any(isinstance(n, int) and n != given for n, given in zip(fixed, spatial, strict=False)):
            raise PackageError(
                f"the ONNX file takes images of {fixed} and its description says {list(spatial)}",
                code="CHANNELS",
            )
