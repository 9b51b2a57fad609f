"""Models that a worker has loaded: each once, for all cases that want it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from medseg.errors import PackageError
from medseg.inference import Predictor
from medseg.inference.coarse_to_fine import MARGIN_MM, CoarseToFine, looking_only
from medseg.model_package import find_package
from medseg.workflows.record import ModelUsed
from medseg_pipelines.batch.messages import Task

_MOST = 2
_Wanted = tuple[str, bytes, str]


@dataclass(frozen=True)
class ModelAtWork:
    """A loaded model."""

    predictor: Predictor | CoarseToFine
    used: ModelUsed


class Models:
    """The models that were asked for last; with several GPUs, the next one for each `number`."""

    def __init__(self, number: int | None = None) -> None:
        self._number = number
        self._loaded: dict[_Wanted, ModelAtWork] = {}

    def of(self, task: Task) -> ModelAtWork:
        """The model of a task, loaded and checked; `MedsegError` when it cannot be used."""
        settings = task.settings
        how = settings.postprocessing, settings.tta, settings.backend
        way = msgspec.json.encode((*how, settings.roi_from, settings.roi_margin_mm))
        wanted = (task.model_digest, way, task.device)
        if wanted not in self._loaded:
            while len(self._loaded) >= _MOST:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[wanted] = _load(task, _placed(task.device, self._number))
        return self._loaded[wanted]


def _placed(device: str, number: int | None) -> str:
    """The device for a worker of this number."""
    count = torch.cuda.device_count()
    if number is None or count < 2 or device not in {"auto", "cuda"}:
        return device
    return f"cuda:{number % count}"


def _load(task: Task, device: str) -> ModelAtWork:
    package = find_package(Path(task.model))
    used = ModelUsed.of(package)
    if used.digest != task.model_digest:
        raise PackageError(
            f"the model in '{task.model}' is another one than when the run began; run the same"
            " command again",
            code="OTHER_MODEL",
        )
    settings = task.settings
    predictor = Predictor.load(
        package,
        device=device,
        postprocessing=settings.postprocessing,
        tta=settings.tta,
        backend=settings.backend,
    )
    margin_mm = MARGIN_MM if settings.roi_margin_mm is None else settings.roi_margin_mm
    segmenter = looking_only(predictor, settings.roi_from, margin_mm=margin_mm, device=device)
    return ModelAtWork(segmenter, used)
