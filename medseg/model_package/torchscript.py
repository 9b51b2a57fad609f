"""TorchScript files, which torch and MONAI run without the code of medseg."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.model_package import pt2
from medseg.model_package.pt2 import FACTS, prepare

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.jit import ScriptModule

__all__ = ["logits", "prepare", "trace", "write"]

NAME = "TorchScript"


def trace(network: nn.Module, image_BCIJK: Tensor) -> ScriptModule:  # noqa: N803 - axes in the name
    """What the network does to some patches, as a script that takes any number of them."""
    import torch

    pt2.trace(network, image_BCIJK)  # refuses ways that depend on voxels; TorchScript follows one
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes become constants, and that torch prefers .pt2
        script: ScriptModule = torch.jit.trace(network, image_BCIJK, check_trace=False)
        return script


def write(script: ScriptModule, path: Path, *, facts: Mapping[str, Any], opset: None) -> None:
    """Write a traced network as one file.

    Parameters
    ----------
    script : torch.jit.ScriptModule
        Takes ``image_BCIJK``, gives ``logits_BLIJK``.
    path : Path
    facts : mapping
        Stored as JSON beside the network.
    opset : None
    """
    import torch

    del opset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(script, path, _extra_files={FACTS: json.dumps(facts, indent=1)})


def logits(path: Path, image_BCIJK: Tensor) -> Tensor:  # noqa: N803 - axes in the name
    """What a file that was just written makes of an image, on the CPU."""
    import torch

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        output: Tensor = torch.jit.load(path, map_location="cpu")(image_BCIJK)
        return output
