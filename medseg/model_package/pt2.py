"""``torch.export`` files, which torch runs without the code of medseg."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

NAME = "torch.export"
FACTS = "medseg.json"
"""Name of the metadata inside the file."""


def prepare(opset: int | None, *, check: bool) -> None:
    """Raise `InputError` when a version of ONNX's operators is asked for: here are none."""
    del check
    if opset is not None:
        raise InputError(
            f"opset {opset} is of ONNX and the output ends in .pt2; leave the opset out or end"
            " the output in .onnx",
            code="OPSET",
        )


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
