"""From an Image layer and a model to a Labels layer: what the Segment panel runs, without Qt."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medseg.runtime.progress import Progress
from medseg.volume import LabelMap, Scan
from medseg_napari.layers import LayerTuple, layer_from_labels, scan_from_layer, source_of

if TYPE_CHECKING:
    from medseg.modelpack import ModelPackage


class Segmenter(Protocol):
    """What a `medseg.inference.Predictor` is to the panel."""

    def predict(self, scan: Scan, *, progress: Progress) -> LabelMap: ...  # noqa: D102


class DeviceChoice(NamedTuple):
    """A device as the person reads it and as the library calls it."""

    words: str
    name: str


@dataclass(frozen=True)
class Request:
    """One press of Run.

    Parameters
    ----------
    data : array
        Of the Image layer.
    attributes : dict
        Of the Image layer.
    package : ModelPackage
        The model.
    device : str
        As `medseg.runtime.device.choose_device` takes it.
    """

    data: Any
    attributes: dict[str, Any]
    package: ModelPackage
    device: str

    @property
    def result_name(self) -> str:
        """Name of the Labels layer to come."""
        return f"{self.attributes['name']}: {self.package.manifest.name}"


def load_predictor(package: ModelPackage, device: str) -> Segmenter:
    """The library's predictor of `package`; imports torch."""
    from medseg.inference import Predictor

    predictor: Segmenter = Predictor.load(package, device=device)
    return predictor


@dataclass
class Runner:
    """Runs requests and keeps the last model loaded for the next one.

    Parameters
    ----------
    load : callable, optional
        From a package and a device name to a predictor.
    """

    load: Callable[[ModelPackage, str], Segmenter] = load_predictor
    _kept: tuple[object, Segmenter] | None = field(default=None, init=False)

    def run(self, request: Request, progress: Progress) -> LayerTuple:
        """The Labels layer of `request`.

        Parameters
        ----------
        request : Request
            What to segment, with what, where.
        progress : Progress
            Called per tile; raising `medseg.errors.Cancelled` stops.

        Returns
        -------
        tuple
            Data, attributes and ``"labels"``, as napari takes them.
        """
        scan = scan_from_layer(np.asarray(request.data), request.attributes)
        progress(0, 1, "loading the model")
        predictor = self._predictor(request)
        labels = predictor.predict(scan, progress=progress)
        return layer_from_labels(labels, request.result_name)

    def _predictor(self, request: Request) -> Segmenter:
        key = (id(request.package), request.device)
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # frees the other model's memory before this one is loaded
            self._kept = (key, self.load(request.package, request.device))
        return self._kept[1]


def device_choices() -> list[DeviceChoice]:
    """The devices of this machine in plain words, the best one first; imports torch."""
    from medseg.runtime.device import choose_device

    best = choose_device("auto")
    choices = [DeviceChoice(best.description, "auto")]
    if best.torch_device.type != "cpu":
        choices.append(DeviceChoice(choose_device("cpu").description, "cpu"))
    return choices


def model_words(package: ModelPackage) -> str:
    """What a person should know of a model before pressing Run, in one or two lines."""
    manifest = package.manifest
    names = ", ".join(manifest.labels.names)
    words = [manifest.card.summary or f"finds {names}"]
    if "foreground" in manifest.scores:
        words.append(f"mean Dice {manifest.scores['foreground']:.2f} on held-out cases")
    if manifest.card.licence:
        words.append(f"licence {manifest.card.licence}")
    return "; ".join(word.rstrip(".") for word in words) + "."


def doubt(data: npt.NDArray[Any], attributes: dict[str, Any]) -> str:
    """Why the place or size of a layer's voxels may be wrong; empty when there is no doubt."""
    if source_of(data, attributes) is None:
        return (
            "This layer was not opened with medseg: its axes are taken as inferior, posterior,"
            " left and its scale as millimetres. Open the file with medseg to be sure."
        )
    return ""


def file_of(source_path: object) -> str:
    """The file a layer came from, if it still is there, else an empty string."""
    return str(source_path) if source_path and Path(str(source_path)).exists() else ""


def installation_warning(python: str | None = None, pyside: str | None = None) -> str:
    """A sentence when this Python and Qt are known to abort together, else an empty string.

    Parameters
    ----------
    python, pyside : str, optional
        Versions to judge instead of the installed ones.
    """
    python = python or platform.python_version()
    pyside = _pyside_version() if pyside is None else pyside
    if not pyside or _numbers(python) >= (3, 12) or _numbers(pyside) < (6, 12):
        return ""
    return (
        f"PySide6 {pyside} makes Python {python} abort after some time; save your work and install"
        ' "PySide6_Essentials>=6.11.2,<6.12"'
    )


def _pyside_version() -> str:
    try:
        return metadata.version("PySide6_Essentials")
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
