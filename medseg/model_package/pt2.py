"""``torch.export`` files, which torch runs without the code of medseg."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

NAME = "torch.export"
FACTS = "medseg.json"
"""Name of the metadata inside the file."""


def prepare(opset: int | None, *, check: bool) -> None:
    """Raise `InputError` when a version of ONNX's operators is asked for: here are none."""
    del check
    if opset is not None:
        raise InputError(
            f"opset {opset} is of ONNX and the output is none; leave the opset out or end the"
            " output in .onnx",
            code="OPSET",
        )


def trace(network: nn.Module, image_BCIJK: Tensor) -> ExportedProgram:  # noqa: N803
    """The network as a graph that takes any number of patches."""
    from torch.export import Dim, export

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on how other libraries keep their layers
        return export(network, (image_BCIJK,), dynamic_shapes=({0: Dim("batch")},))


def write(program: ExportedProgram, path: Path, *, facts: Mapping[str, Any], opset: None) -> None:
    """Write a traced network as one file.

    Parameters
    ----------
    program : torch.export.ExportedProgram
        Takes ``image_BCIJK``, gives ``logits_BLIJK``.
    path : Path
    facts : mapping
        Stored as JSON beside the network.
    opset : None
    """
    import torch

    del opset
    torch.export.save(program, path, extra_files={FACTS: json.dumps(facts, indent=1)})


def logits(path: Path, image_BCIJK: Tensor) -> Tensor:  # noqa: N803 - axes in the name
    """What a file that was just written makes of an image, on the CPU.

    Parameters
    ----------
    path : Path
        Not a stranger's: torch unpickles the example input in it.
    image_BCIJK : torch.Tensor
    """
    import torch

    output: Tensor = torch.export.load(path).module()(image_BCIJK)
    return output
