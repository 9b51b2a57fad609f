"""A model's network, written once as ONNX and made ready by a library other than torch."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import json
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import cast

import torch
from filelock import FileLock
from torch import nn

from medseg import networks
from medseg._version import __version__
from medseg.errors import InputError, reason
from medseg.inference.backends.protocol import Backend, Runs
from medseg.model_package import ModelPackage, onnx
from medseg.model_package.backend_choice import kept_folder
from medseg.runtime.device import Device
from medseg.writing import atomic

LIBRARIES = ("openvino", "onnxruntime")
"""Beside torch: files of this folder, called as the packages that they import."""
NEEDED = ("onnx", "onnxscript")
"""With which torch writes the file that the libraries read."""


def version(library: str) -> str:
    """The installed version of a library; empty when it, or what it needs, is not there."""
    try:
        for name in NEEDED:
            metadata.version(name)
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Compilation:
    """A model's network on its way to another library than torch.

    Parameters
    ----------
    package : ModelPackage
    network : torch.nn.Module
        Of the package, on the CPU.
    device : Device
        Its number format is that of the compiled network where the library has it.
    given : bool
        Whether a person gave the network in Python: nothing of it is kept then, since the same
        weights may be those of other code tomorrow.
    """

    package: ModelPackage
    network: nn.Module
    device: Device
    given: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """Channels and voxels of a tile."""
        plan = self.package.manifest.plan
        return len(plan.channels), *plan.patch

    @cached_property
    def folder(self) -> Path:
        """Of all that is kept of this network in this version; made when it is not there.

        Parts of other packages can change without their version, as a given network can; what is
        made of those goes away with this object.
        """
        if not self.given and not self.package.manifest.requires:
            folder = kept_folder(self.package) / _code_digest()
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
        scratch = tempfile.mkdtemp(prefix="medseg-")
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        return Path(scratch)

    def runner(self, library: str) -> Runs:
        """The network, made ready by a library.

        Raises
        ------
        InputError
            When the library is not installed or the network cannot be brought to it.
        """
        if not version(library):
            raise InputError(
                f"backend '{library}' needs {library}, {' and '.join(NEEDED)}, and not all are"
                f" installed; run pip install 'medseg[{library}]', or take the backend torch",
                code="NOT_INSTALLED",
            )
        backend = cast(Backend, importlib.import_module(f"medseg.inference.backends.{library}"))
        backend.prepare()
        try:
            half = self.device.half is torch.bfloat16
            with FileLock(self.folder / "lock"):  # of what the library itself keeps there, too
                return backend.Runner(self._file(), self.size, half=half)
        except Exception as error:  # whatever a compiler of another library raises
            raise InputError(
                f"the network '{self.package.manifest.plan.network.name}' of the model"
                f" '{self.package.manifest.name}' cannot run on {library}: {reason(error)}; take"
                " the backend torch",
                code="BACKEND",
            ) from error

    def _file(self) -> Path:
        """The ONNX file, written now when it is not there.

        A trial asks for it within the modes of a prediction, of which the file shall know nothing.
        """
        path = self.folder / "network.onnx"
        if not path.is_file():
            with torch.inference_mode(mode=False), torch.autocast("cpu", enabled=False):
                self._write(path)
        return path

    def _write(self, path: Path) -> None:
        network = copy.deepcopy(self.network)
        for weight in network.parameters():
            weight.data = weight.data.contiguous()
        program = onnx.trace(network, torch.zeros(2, *self.size))
        with atomic(path, suffix=path.suffix) as temporary:
            onnx.write(program, temporary, facts={}, opset=onnx.OPSET)


def _code_digest() -> str:
    """Digest of the code that makes networks, and of the versions that write them."""
    sources = sorted(Path(networks.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    versions = [__version__, torch.__version__, *(metadata.version(name) for name in NEEDED)]
    digest.update(json.dumps(versions).encode())
    return digest.hexdigest()[:16]
