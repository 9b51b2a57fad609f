"""What files of other programs hold, decoded as data: JSON, YAML, weights, lists of names."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from medseg.errors import PackageError, reason
from medseg.model_package.manifest import Weights

if TYPE_CHECKING:
    from torch import Tensor


def decoded_mapping(data: bytes, where: str) -> dict[str, Any]:
    """The mapping at the top of a JSON or YAML file, by what `where` ends in.

    Raises
    ------
    PackageError
        When it does not decode, or PyYAML is needed and not installed.
    """
    try:
        content = json.loads(data) if where.endswith(".json") else _yaml(data, where)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"'{where}' does not decode: {reason(error)}", code="DECODE") from error
    if not isinstance(content, dict):
        raise PackageError(
            f"'{where}' holds a {type(content).__name__} and not a mapping", code="DECODE"
        )
    return content


def _yaml(data: bytes, where: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise PackageError(
            f"'{where}' is YAML; to read it: pip install 'medseg[models]'", code="NOT_INSTALLED"
        ) from error
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(reason(error)) from error


def state_dict(data: bytes, where: str) -> dict[str, Tensor]:
    """Tensors by name of a file of `torch.save`, unpickled by torch's own allow-list only.

    Raises
    ------
    PackageError
        When it holds anything but tensors and plain containers, or is damaged.
    """
    import torch

    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise PackageError(
            f"the weights '{where}' hold more than tensors, and nothing of it was executed:"
            f" {_refused(error)}; ask for a file of the state_dict alone",
            code="UNSAFE",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PackageError(
            f"the weights '{where}' cannot be read: {reason(error)}; copy the model again",
            code="DAMAGED",
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(v, torch.Tensor) for v in content.values()
    ):
        raise PackageError(f"the weights '{where}' are no state_dict of tensors", code="DECODE")
    return content


def as_safetensors(weights: Mapping[str, Tensor]) -> tuple[bytes, Weights]:
    """Weights in the number format that they have, and what a manifest says of them."""
    from safetensors.torch import save

    # a copy each: tensors that share memory are refused
    data = save(
        {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    )
    return data, weights_file(data, "weights.safetensors")


def weights_file(data: bytes, name: str) -> Weights:
    """What a manifest says of a file of weights."""
    return Weights(file=name, sha256=hashlib.sha256(data).hexdigest())


def _refused(error: Exception) -> str:
    """What it asked for that torch does not unpickle."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    return f"it asks for {asked[1]}" if asked else reason(error)


def channel_names(given: Any, count: int) -> tuple[str, ...] | None:
    """Names of channels ``{"0": name}`` as a tuple; None where they are not `count` unique ones."""
    if not isinstance(given, dict):
        return None
    named = tuple(str(given.get(str(n), given.get(n, ""))).strip() for n in range(count))
    return named if all(named) and len(set(named)) == count else None
