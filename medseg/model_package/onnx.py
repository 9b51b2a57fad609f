"""ONNX files: written by torch with onnxscript, read again by onnxruntime."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import InputError
from medseg.model_package.pt2 import trace

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

__all__ = ["logits", "prepare", "trace", "write"]

NAME = "ONNX"
OPSETS = range(18, 24)
"""Versions of ONNX's operators that torch writes; older ones lack operators that networks need."""
OPSET = 18
"""The one that most other programs read."""
LARGEST = 2**31
"""Bytes that fit into one ONNX file."""
WRITERS, READER = ("onnx", "onnxscript"), "onnxruntime"


def prepare(opset: int | None, *, check: bool) -> int:
    """The version of ONNX's operators to write, once it is known that it can be written.

    Raises
    ------
    InputError
        When torch does not write that version, or a package is not installed.
    """
    if opset is not None and opset not in OPSETS:
        raise InputError(
            f"opset {opset} cannot be written; choose one from {OPSETS[0]} to {OPSETS[-1]}, or"
            f" leave it out for {OPSET}",
            code="OPSET",
        )
    needed = (*WRITERS, READER) if check else WRITERS
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        unless = ", or add --no-check" if missing == [READER] else ""
        raise InputError(
            f"ONNX needs {' and '.join(missing)}, which is not installed; run"
            f" pip install 'medseg[export]'{unless}",
            code="NOT_INSTALLED",
        )
    return OPSET if opset is None else opset


def write(program: ExportedProgram, path: Path, *, facts: Mapping[str, Any], opset: int) -> None:
    """Write a traced network as one file.

    Parameters
    ----------
    program : torch.export.ExportedProgram
        Takes ``image_BCIJK``, gives ``logits_BLIJK``.
    path : Path
    facts : mapping
        Become metadata: strings as they are, all else as JSON.
    opset : int

    Raises
    ------
    InputError
        When the weights are too large for one file, or another version would be written.
    """
    import torch

    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size >= LARGEST:
        raise InputError(f"{size / 2**30:.1f} GiB of weights do not fit into one file; use .pt2")
    with _quiet():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            external_data=False,
            verbose=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: "batch"},),
        )
        if exported is None or exported.model.opset_imports.get("") != opset:
            raise InputError(f"it needs operators that opset {opset} has not; try another opset")
        for name, fact in facts.items():
            text = fact if isinstance(fact, str) else json.dumps(fact)
            exported.model.metadata_props[name] = text
        exported.save(path, external_data=False)


def logits(path: Path, image_BCIJK: Tensor) -> Tensor:  # noqa: N803 - axes in the name
    """What a file makes of an image, on the CPU."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"image": image_BCIJK.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's and onnxscript's remarks on their own insides from the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
