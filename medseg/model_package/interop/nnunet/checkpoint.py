"""Checkpoints of nnU-Net: pickles, of which only tensors, numbers and plain containers are read.

nnU-Net itself loads them with ``weights_only=False``, which runs whatever code the file names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.errors import PackageError

_PREFIXES = ("module.", "_orig_mod.")
"""Of names in weights that were saved in parallel or compiled training."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a prediction needs of a checkpoint.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
    trainer : str
        Name of the trainer's class.
    configuration : str
    fold : str
        ``"0"`` to ``"4"``, or ``"all"``.
    mirror_axes : tuple of int
        Axes of the network's input along which a prediction may mirror.
    """

    weights: dict[str, Tensor]
    trainer: str
    configuration: str
    fold: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.pth`` file without running anything that it names.

    Raises
    ------
    PackageError
        When it holds something else than tensors, numbers and plain containers (code ``UNSAFE``),
        is damaged, or is no checkpoint of nnU-Net.
    """
    content = _load(path)
    if not isinstance(content, dict) or "network_weights" not in content:
        raise PackageError(
            f"'{path.name}' is no checkpoint of nnU-Net v2: it holds no 'network_weights'",
            code="NO_CHECKPOINT",
        )
    arguments = content.get("init_args") or {}
    return Checkpoint(
        weights={_plain(name): value for name, value in content["network_weights"].items()},
        trainer=str(content.get("trainer_name", "")),
        configuration=str(arguments.get("configuration", "")),
        fold=str(arguments.get("fold", "")),
        mirror_axes=tuple(int(n) for n in content.get("inference_allowed_mirroring_axes") or ()),
    )


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise PackageError(
            f"'{path.name}' holds more than tensors, numbers and plain containers"
            f" ({_unsafe_part(error)}); nothing of it was run; ask for a checkpoint as nnU-Net"
            " writes it",
            code="UNSAFE",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise PackageError(
            f"'{path.name}' is damaged or no checkpoint ({type(error).__name__}); copy it again",
            code="DAMAGED",
        ) from error


def _numpy_globals() -> list[Any]:
    """What numpy's numbers in a checkpoint (its scores) are rebuilt by, under old and new names."""
    rebuilt: list[Any] = [np.dtype, *(type(np.dtype(code)) for code in "?bhilqBHILQefd")]
    number = np.float64(0).__reduce__()[0]
    array = np.empty(0).__reduce__()[0]
    for package in ("numpy.core", "numpy._core"):
        rebuilt.append((number, f"{package}.multiarray.scalar"))
        rebuilt.append((array, f"{package}.multiarray._reconstruct"))
    return [*rebuilt, np.ndarray]


def _unsafe_part(error: UnpicklingError) -> str:
    """The name that was refused, out of torch's message."""
    name = re.search(r"GLOBAL (\S+)", str(error))
    return f"it names '{name[1]}'" if name else "it names a class"


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name
