"""A model as one file for other programs, checked before it takes its name.

The ending of the file chooses the format: ``.onnx``, ``.pt2`` for ``torch.export``, or ``.ts`` for
TorchScript. The file takes any number of patches at once, each of the plan's size: how a network
brings its branches together depends on the size that was traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from medseg._version import __version__
from medseg.errors import InputError, WriteError, reason
from medseg.model_package import onnx, pt2, torchscript
from medseg.model_package.package import ModelPackage
from medseg.runtime.progress import Progress, silent
from medseg.writing import atomic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from medseg.model_package.manifest import Manifest

FORMATS: dict[str, ModuleType] = {".onnx": onnx, ".pt2": pt2, ".ts": torchscript}
TOLERANCE = 1e-4
"""Largest difference of a logit from torch's that is let pass, as a share of the largest logit."""
TRACED, CHECKED = 2, 1
"""Patches at once: a file in which the first number got stuck fails with the second."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Parameters
    ----------
    path : Path
    format : str
        Such as ``"ONNX, opset 18"``.
    difference : float or None
        Largest difference of a logit from torch's as a share of the largest logit; None when the
        file was not checked.
    """

    path: Path
    format: str
    difference: float | None


def export_model(
    package: ModelPackage,
    path: Path,
    *,
    opset: int | None = None,
    check: bool = True,
    progress: Progress = silent,
) -> Exported:
    """Write a model's network for other programs, with its plan and labels as metadata.

    Parameters
    ----------
    package : ModelPackage
        What to export. Steps after the network are named in the metadata; they are no part of it.
    path : Path
        Ends in ``.onnx``, ``.pt2`` or ``.ts``; the file appears whole or not at all.
    opset : int, optional
        Version of ONNX's operators; see :data:`medseg.model_package.onnx.OPSETS`.
    check : bool, default True
        Whether to read the file again, run it on random numbers and compare with torch.
    progress : Progress, optional
        Called between the steps; may raise `Cancelled`.

    Raises
    ------
    InputError
        When the ending or the opset is unknown, a package is not installed, or the network cannot
        be exported; or it is of another program.
    PackageError
        When the model's weights are missing or altered.
    WriteError
        When the file cannot be written, or gives other logits than torch.
    """
    package.manifest.check_planned("exported")
    kind = _kind(path)
    version = kind.prepare(opset, check=check)
    if not path.parent.is_dir():
        raise WriteError(
            f"the folder '{path.parent}' does not exist; make it or choose another",
            code="NO_FOLDER",
        )
    network = package.load_network()
    for weight in network.parameters():
        weight.data = weight.data.contiguous()
    progress(0, 3, "tracing the network")
    with _as_input_error(package, kind.NAME):
        program = kind.trace(network, _image(package, count=TRACED))
    with atomic(path, suffix=path.suffix) as temporary:
        progress(1, 3, "writing the file")
        with _as_input_error(package, kind.NAME):
            kind.write(program, temporary, facts=facts(package.manifest), opset=version)
        difference = None
        if check:
            progress(2, 3, "checking the file")
            difference = _difference(package, network, temporary)
    progress(3, 3, "checking the file")
    name = f"{kind.NAME}, opset {version}" if version else str(kind.NAME)
    return Exported(path, name, difference)


def facts(manifest: Manifest) -> dict[str, Any]:
    """What a file says of the model it came from: names, versions, plan, labels, steps, licence.

    Returns
    -------
    dict
        Numbers, strings, lists and dicts, as in JSON.
    """
    return {
        "medseg_version": __version__,
        "model": manifest.name,
        "model_version": manifest.version,
        "weights_sha256": manifest.weights.sha256,
        "folds": [fold.number for fold in manifest.folds],
        "plan": msgspec.to_builtins(manifest.plan),
        "labels": msgspec.to_builtins(manifest.labels.labels),
        "postprocessing": msgspec.to_builtins(manifest.postprocessing),
        "licence": manifest.card.licence,
        "attribution": manifest.card.attribution,
    }


def _kind(path: Path) -> ModuleType:
    """The module of the format that the file's ending names."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"cannot tell the format of the output '{path.name}'; end it in one of:"
            f" {', '.join(FORMATS)}"
        )
    return kind


@contextmanager
def _as_input_error(package: ModelPackage, name: str) -> Iterator[None]:
    """Turn whatever another library's compiler raises into one sentence."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        manifest = package.manifest
        raise InputError(
            f"the network '{manifest.plan.network.name}' of the model '{manifest.name}' cannot be"
            f" exported as {name}: {reason(error)}",
            code="NOT_EXPORTABLE",
        ) from error


def _difference(package: ModelPackage, network: nn.Module, path: Path) -> float:
    """Largest difference of a logit, to the largest logit; raise `WriteError` when it is large."""
    import torch

    kind = _kind(path)
    image = _image(package, count=CHECKED)
    with torch.inference_mode():
        expected: Tensor = network(image)
    with _as_input_error(package, kind.NAME):
        exported: Tensor = kind.logits(path, image)
    largest = float(expected.abs().max())
    difference = float((exported - expected).abs().max())
    if not difference <= TOLERANCE * largest:
        raise WriteError(
            f"as {kind.NAME} the model '{package.manifest.name}' gives logits up to"
            f" {difference:.2g} away from torch's, whose largest is {largest:.3g}, so nothing was"
            " written; try another format or opset",
            code="EXPORT_DIFFERS",
        )
    return difference / largest if largest else 0.0


def _image(package: ModelPackage, *, count: int) -> Tensor:
    """Patches of random numbers, the same at every call."""
    import torch

    plan = package.manifest.plan
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, plan.inputs, *plan.patch, generator=generator)
