"""Tensors of a TorchScript archive, without executing it: its pickle is read by an allow-list."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from pickle import Unpickler, UnpicklingError
from typing import Any

import torch
from torch import Tensor

from medseg.errors import PackageError, reason

_TYPES = {"FloatStorage": torch.float32, "HalfStorage": torch.float16, "LongStorage": torch.int64}


def script_weights(data: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a scripted or traced module by the names that its ``state_dict`` gives them.

    Parameters
    ----------
    data : bytes
        The archive that ``torch.jit.save`` wrote. Its code is not looked at.
    where : str
        The file, for messages.

    Raises
    ------
    PackageError
        When the pickle in it holds anything but modules and tensors, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            tree = _Unpickler(archive, name.removesuffix(".pkl")).load()
        return dict(_named_tensors(tree, ""))
    except UnpicklingError as error:
        raise PackageError(
            f"the weights '{where}' hold more than tensors, and nothing of it was executed:"
            f" {reason(error)}",
            code="UNSAFE",
        ) from error
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, RuntimeError, TypeError) as error:
        raise PackageError(
            f"the weights '{where}' cannot be read: {reason(error)}; install the package again",
            code="DAMAGED",
        ) from error


class _Node:
    """A module of the archive: what its attributes hold."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = dict(state)


class _Unpickler(Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}.pkl")))
        self.archive = archive
        self.folder = folder

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Node
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        if not str(key).isdigit() or not isinstance(dtype, torch.dtype):
            raise UnpicklingError(f"it asks for the storage {str(key)[:40]!r}")
        values = torch.frombuffer(bytearray(self.archive.read(f"{self.folder}/{key}")), dtype=dtype)
        if len(values) != count:
            raise ValueError(f"storage {key} has {len(values)} values and should have {count}")
        return values


def _tensor(values: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return torch.as_strided(values, tuple(size), tuple(stride), offset).clone()


def _named_tensors(node: Any, prefix: str) -> Any:
    if isinstance(node, Tensor):
        yield prefix[:-1], node
    elif isinstance(node, _Node):
        for name, value in node.attributes.items():
            yield from _named_tensors(value, f"{prefix}{name}.")
