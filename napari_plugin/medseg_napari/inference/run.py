"""From an Image layer and a model to labels: what the Segment panel runs, without Qt."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from medseg.reading.channels import stack_channels
from medseg.runtime.progress import Progress
from medseg.volume import Scan
from medseg.workflows.record import ModelUsed
from medseg_napari.inference.devices import Forecast, forecast, leave_a_core_free, limit_memory
from medseg_napari.layers import (
    MAP_KEY,
    LayerTuple,
    layer_from_labels,
    layer_from_scan,
    scan_from_layer,
)
from medseg_napari.run_record import RUN_KEY, RunRecord, checksum

if TYPE_CHECKING:
    from medseg.inference import Estimate, Options, Prediction, Probe, Roi
    from medseg.model_package import ModelPackage
    from medseg.planning import Component
    from medseg.runtime.device import Device
    from medseg.volume import Grid
    from medseg.workflows.segment import Result

_WORTH_A_PREVIEW = 1.5
_WAIT_S = 0.1


class Segmenter(Protocol):
    """What a `medseg.inference.Predictor` is to the panel."""

    @property
    def device(self) -> Device: ...  # noqa: D102
    def run(self, scan: Scan, options: Options, *, progress: Progress) -> Prediction: ...  # noqa: D102
    def probe(self) -> Probe: ...  # noqa: D102
    def estimate(self, grid: Grid, options: Options, *, probe: Probe) -> Estimate: ...  # noqa: D102


@dataclass(frozen=True)
class InferenceOptions:
    """What the person wants besides labels of the whole scan.

    Parameters
    ----------
    roi : tuple of slice, optional
        Voxels to look at, along the layer's axes I, P, L.
    overlap : float, optional
        Of tiles, in place of the model's own.
    postprocessing : tuple of Component, optional
        Steps after the network in place of the model's own; none when empty.
    uncertainty : bool
        Whether to show where the labels may be wrong.
    probability_of : str
        The label whose probability to show, or empty.
    preview : bool
        Whether a quick, coarse result is shown first.
    """

    roi: Roi | None = None
    overlap: float | None = None
    postprocessing: tuple[Component, ...] | None = None
    uncertainty: bool = False
    probability_of: str = ""
    preview: bool = False


@dataclass(frozen=True)
class Request:
    """One press of Run; `more` are layers whose scans are the channels after the first."""

    data: Any
    attributes: dict[str, Any]
    package: ModelPackage
    device: str
    options: InferenceOptions = InferenceOptions()
    tta: bool = False
    backend: str = "torch"
    more: tuple[tuple[Any, dict[str, Any]], ...] = ()

    @property
    def result_name(self) -> str:
        """Name of the Labels layer to come."""
        return f"{self.attributes['name']}: {self.package.manifest.name}"

    @property
    def way(self) -> tuple[object, ...]:
        """What a loaded model can be used again for."""
        return id(self.package), self.device, self.tta, self.backend


@dataclass(frozen=True)
class Outcome:
    """What a run gives to the viewer.

    Parameters
    ----------
    labels : tuple
        A Labels layer as napari takes it.
    maps : tuple of tuple
    roi : tuple of slice, optional
        The voxels that were looked at; all when there is none.
    notes : tuple of str
        What a person should know, such as what was done when memory ran out.
    preview : bool
        Whether a better result is on its way.
    """

    labels: LayerTuple
    maps: tuple[LayerTuple, ...] = ()
    roi: Roi | None = None
    notes: tuple[str, ...] = ()
    preview: bool = False


def load_predictor(request: Request) -> Segmenter:
    """The library's predictor for a request; imports torch."""
    from medseg.inference import Predictor

    leave_a_core_free()
    limit_memory(request.device)
    return Predictor.load(
        request.package, device=request.device, tta=request.tta, backend=request.backend
    )


@dataclass
class Runner:
    """Runs requests, one at a time, and keeps the last model loaded for the next one."""

    load: Callable[[Request], Segmenter] = load_predictor
    _kept: tuple[object, Segmenter] | None = field(default=None, init=False)
    _probe: tuple[object, Probe] | None = field(default=None, init=False)
    _measuring: bool = field(default=False, init=False)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, init=False)

    def run(self, request: Request, progress: Progress) -> Generator[Outcome, None, Outcome]:
        """Labels and maps of `request`."""
        from medseg.workflows.segment import segment_case

        progress(0, 1, "preparing the scan")
        scan = scan_of(request)
        with self._alone(progress):
            predictor = self._predictor(request, progress)
            options = options_of(request, scan)
            model, settings = ModelUsed.of(request.package), settings_of(request)
            segmented = functools.partial(segment_case, scan, predictor, model, settings=settings)
            if request.options.preview and self._is_quicker(request, predictor, scan, options):
                quick = replace(options, overlap=0.0, postprocessing=(), **_NO_MAPS)
                result = segmented(quick, progress=_called(progress, "preview"))
                yield outcome(result, request, preview=True)
            result = segmented(options, progress=progress)
        return outcome(result, request)

    def forecast(self, request: Request, progress: Progress) -> Forecast:
        """What a run will take; measures one tile the first time for each model and device."""
        scan = scan_of(request)
        options = options_of(request, scan)
        with self._alone(progress):
            self._measuring = True
            try:
                predictor = self._predictor(request, progress)
                progress(0, 1, "measuring one tile")
                probe = self._measured(request, predictor)
            finally:
                self._measuring = False
        return forecast(predictor.estimate(scan.grid, options, probe=probe), request.device)

    def _is_quicker(
        self, request: Request, predictor: Segmenter, scan: Scan, options: Options
    ) -> bool:
        probe = self._measured(request, predictor)
        quick = replace(options, overlap=0.0, postprocessing=(), **_NO_MAPS)
        full_s, quick_s = (
            predictor.estimate(scan.grid, pace, probe=probe).tiles for pace in (options, quick)
        )
        return full_s >= _WORTH_A_PREVIEW * quick_s

    def _measured(self, request: Request, predictor: Segmenter) -> Probe:
        key = request.way
        if self._probe is None or self._probe[0] != key:
            self._probe = (key, predictor.probe())
        return self._probe[1]

    def _predictor(self, request: Request, progress: Progress) -> Segmenter:
        key = request.way
        if self._kept is None or self._kept[0] != key:
            progress(0, 1, "loading the model")
            self._kept = None  # frees the other model's memory before this one is loaded
            self._kept = (key, self.load(request))
        return self._kept[1]

    @contextmanager
    def _alone(self, progress: Progress) -> Iterator[None]:
        """Wait until a stopped run has ended its tile: two would share memory and cores."""
        while not self._one_at_a_time.acquire(timeout=_WAIT_S):
            text = (
                "measuring one tile"
                if self._measuring
                else "waiting for the run before to end its tile"
            )
            progress(0, 1, text)
        try:
            yield
        finally:
            self._one_at_a_time.release()


_NO_MAPS: dict[str, Any] = {"uncertainty": False, "probability_of": ""}


def scan_of(request: Request) -> Scan:
    """The scan of the layers that were chosen, as channels on the first one's grid.

    Raises
    ------
    GeometryError
        When a layer is no volume, or they do not lie on one grid.
    """
    layers = ((request.data, request.attributes), *request.more)
    scans = [scan_from_layer(np.asarray(data), attributes) for data, attributes in layers]
    return stack_channels(scans, [str(attributes["name"]) for _, attributes in layers])


def options_of(request: Request, scan: Scan) -> Options:
    """What the library is asked for; imports torch."""
    from medseg.inference import Options
    from medseg.inference.roi import roi_on
    from medseg.volume.conventions import IPL, Reorientation

    panel = request.options
    shown = Reorientation.towards(scan.grid, IPL).target
    return Options(
        roi=None if panel.roi is None else roi_on(scan.grid, panel.roi, shown),
        overlap=panel.overlap,
        postprocessing=panel.postprocessing,
        uncertainty=panel.uncertainty,
        probability_of=panel.probability_of,
    )


def outcome(result: Result, request: Request, *, preview: bool = False) -> Outcome:
    """A result as layers; `preview` says that a better one is on its way."""
    name, label = request.result_name, request.options.probability_of
    maps = (
        (result.uncertainty, f"{name}: uncertainty, %", "inferno"),
        (result.probability, f"{name}: probability of {label}, %", "viridis"),
    )
    labels = layer_from_labels(result.labels, f"{name} (preview)" if preview else name)
    run = RunRecord(record=result.record, crc32=checksum(labels[0]))
    labels[1]["metadata"][RUN_KEY] = run
    return Outcome(
        labels=labels,
        maps=tuple(_map_layer(scan, title, colours) for scan, title, colours in maps if scan),
        roi=request.options.roi,
        notes=result.warnings,
        preview=preview,
    )


def settings_of(request: Request) -> dict[str, str]:
    """What the person chose besides scan, model and device, in words; for provenance."""
    options = request.options
    settings = (
        {} if options.roi is None else {"only a box of": " x ".join(map(_extent, options.roi))}
    )
    if options.postprocessing is not None:
        settings["postprocessing"] = (
            " then ".join(step.name for step in options.postprocessing) or "none"
        )
    return settings


def _extent(cut: slice) -> str:
    return str(cut.stop - cut.start)


def _map_layer(percents: Scan, name: str, colours: str) -> LayerTuple:
    data, attributes, kind = layer_from_scan(percents, name)
    attributes.update(
        colormap=colours, contrast_limits=(0.0, 100.0), opacity=0.6, blending="additive"
    )
    attributes["metadata"][MAP_KEY] = "run"
    return data, attributes, kind


def _called(progress: Progress, name: str) -> Progress:
    def named(done: int, total: int, message: str, /) -> None:
        progress(done, total, f"{name}, {message}")

    return named


def model_summary(package: ModelPackage) -> str:
    """What a person should know of a model before pressing Run, in one or two lines."""
    manifest = package.manifest
    names = ", ".join(manifest.labels.names)
    sentences = [manifest.card.summary or f"finds {names}"]
    if manifest.mean_dice is not None:
        sentences.append(f"mean Dice {manifest.mean_dice:.2f} on held-out cases")
    if manifest.card.licence:
        sentences.append(f"licence {manifest.card.licence}")
    return "; ".join(sentence.rstrip(".") for sentence in sentences) + "."
