"""A scan labelled by the chain of steps of another program, each as MONAI itself does it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import monai.inferers
import monai.transforms
import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from torch import Tensor

from medseg.errors import GeometryError, InputError, PackageError, reason
from medseg.inference.box_then_whole import box_then_whole
from medseg.inference.options import DEFAULT_OPTIONS, Options, Prediction
from medseg.inference.probability_maps import MOST
from medseg.inference.processing_steps import STEPS, Step
from medseg.inference.roi import outside
from medseg.model_package.chain import Chain
from medseg.networks.blocks.linknet import TwoLooks
from medseg.planning import Component
from medseg.reading.monai_reader import meta_of
from medseg.runtime.progress import Progress, silent
from medseg.volume import LabelMap, Scan

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor

Item = dict[str, Any]
_IMAGE, _PREDICTION, _SCAN = "image", "pred", "scan"
_CHANNELS_AT_ONCE = 8
"""Of probabilities that lie on the scan's own voxels at the same time, where a label is all that is
asked for."""


def run_chain(
    predictor: Predictor, chain: Chain, scan: Scan, options: Options, progress: Progress
) -> Prediction:
    """Label a scan as the other program would.

    Parameters
    ----------
    predictor : Predictor
        Whose network the chain is for.
    chain : Chain
    scan : Scan
    options : Options
    progress : Progress
        Called before every pass of the network; may raise `Cancelled`.

    Raises
    ------
    InputError
        When the scan has other channels than the model, or a step cannot work on it.
    GeometryError
        When the labels do not come to lie on the scan's voxels.
    """
    if scan.channels != len(predictor.plan.channels):
        raise InputError(
            f"the scan has {scan.channels} channel(s), the model expects"
            f" {len(predictor.plan.channels)} ({', '.join(predictor.plan.channels)})",
            code="CHANNELS",
        )
    scan.check_finite()
    run = ChainRun(predictor, chain, options, progress)
    try:
        answers = [run.answer(image) for image in _images(scan, flat=run.flat)]
    except (ValueError, RuntimeError, TypeError, IndexError, KeyError) as error:
        raise InputError(
            f"a step of the model cannot work on this scan of {scan.grid.shape} voxels:"
            f" {reason(error)}",
            code="STEP",
        ) from error
    return _prediction(run, scan, answers)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a chain gives for one image.

    Parameters
    ----------
    labels : ndarray
        Of the image's own voxels.
    probabilities : Tensor or None
        Of the network's channels, where they are asked for; shape (L, ...).
    """

    labels: npt.NDArray[Any]
    probabilities: Tensor | None


class ChainRun:
    """A chain at work.

    Parameters
    ----------
    predictor : Predictor
    chain : Chain
    options : Options
    progress : Progress
    """

    def __init__(
        self, predictor: Predictor, chain: Chain, options: Options, progress: Progress
    ) -> None:
        self.predictor = predictor
        self.chain = chain
        self.options = options
        self.progress = progress
        self.before = monai.transforms.Compose([_made(s, _IMAGE) for s in chain.before])
        self.flat = predictor.plan.spatial_dims == 2 and chain.inferer.name != "SliceInferer"
        self.passes = 0

    @property
    def exclusive(self) -> bool:
        """Whether the channels of the network exclude each other."""
        return any(step.settings.get("argmax") for step in self.chain.after)

    @property
    def wants_maps(self) -> bool:
        """Whether probabilities are asked for."""
        options = self.options
        return options.uncertainty or bool(options.probability_of) or options.probabilities

    @torch.inference_mode()
    def answer(self, image: MetaTensor) -> Answer:
        """Labels of one image.

        Parameters
        ----------
        image : MetaTensor
            Shape (C, I, J, K), or (C, I, J) of a network for pictures.
        """
        shape = tuple(image.shape[1:])
        item: Item = dict(self.before({_IMAGE: image, _SCAN: image.as_tensor()}))
        item[_PREDICTION] = self.logits(item[_IMAGE])
        soft, hard = self.chain.halves
        late = not self.wants_maps and _ends_in_inverse(soft) and _is_argmax(hard[0])
        for step in soft[:-1] if late else soft:
            item = self._after(step, item)
        probabilities = self._probabilities(item, soft) if self.wants_maps else None
        if late:
            item[_PREDICTION] = self._inverted_argmax(item, soft[-1])
            leftover = "Foreground" if hard[0].settings.get("to_onehot") else ""
            hard = tuple(step for step in hard[1:] if step.name != leftover)
        for step in hard:
            item = self._after(step, item, discrete=True)
        labels = np.asarray(item[_PREDICTION])
        if labels.shape != (1, *shape):
            raise GeometryError(
                f"the steps of the model lead to labels of shape {labels.shape} on a scan of"
                f" {shape} voxels; it needs Invertd after the network"
            )
        return Answer(labels[0].round().astype(np.uint16), probabilities)

    @torch.inference_mode()
    def logits(self, image: Tensor) -> Tensor:
        """Of every voxel as the network sees it, on the CPU; shape (L, ...).

        Parameters
        ----------
        image : torch.Tensor
            Shape (C, I, J, K), or (C, I, J) of a network for pictures, after the chain's steps.
        """
        device = self.predictor.device.torch_device
        plain = (image.as_tensor() if isinstance(image, MetaTensor) else image)[None].to(device)
        if self.chain.inferer.name == "BoxThenWhole":
            self.progress(0, 1, "segmenting")
            return box_then_whole(plain[0], cast(TwoLooks, self.predictor.network)).cpu()
        settings = dict(self.chain.inferer.settings)
        if self.options.overlap is not None and "roi_size" in settings:
            settings["overlap"] = self.options.overlap
        if self.chain.inferer.name == "AxesWindow":
            return self._by_axes(plain, settings)
        inferer = getattr(monai.inferers, self.chain.inferer.name)(**settings)
        half = self.chain.half and device.type == "cuda"
        with torch.autocast("cuda", enabled=half):
            logits: Tensor = inferer(plain, self._network)[0]
        return logits.float().cpu()

    def _by_axes(self, image: Tensor, settings: dict[str, Any]) -> Tensor:
        """As `logits`, by a network whose tensors have axes in the order of some letters."""
        given, answered = settings.pop("axes"), settings.pop("output_axes")
        ours = "bcxyz"[: image.ndim]
        spatial = [axis for axis in given if axis in ours[2:]]
        turned = image.permute(0, 1, *(ours.index(axis) for axis in spatial))

        def network(patch: Tensor) -> Tensor:
            logits = self._network(_with_axes(patch, spatial, given))
            return _channels_first(logits, answered, spatial)

        window = monai.inferers.SlidingWindowInferer(**settings)
        back = [0, *(1 + spatial.index(axis) for axis in ours[2:])]
        logits_there: Tensor = window(turned, network)[0]
        return logits_there.float().cpu().permute(back)

    def _network(self, patch: Tensor) -> Tensor:
        self.progress(self.passes, self.passes + 1, "segmenting")
        self.passes += 1
        answer = self.predictor.network(patch)
        logits: Tensor = answer[0] if isinstance(answer, list | tuple) else answer
        return logits

    def _after(self, step: Component, item: Item, *, discrete: bool = False) -> Item:
        """`item` after one step; labels are never interpolated."""
        if step.name == "Invertd":
            nearest = discrete or bool(step.settings.get("nearest_interp", True))
            return {**item, _PREDICTION: self._inverted(item, item[_PREDICTION], nearest=nearest)}
        return dict(_made(step, _PREDICTION)(item))

    def _inverted(self, item: Item, values: Tensor, *, nearest: bool) -> Tensor:
        """Values on the voxels of the image before its transforms; shape (L, ...)."""
        invert = monai.transforms.Invertd(
            keys=_PREDICTION, transform=self.before, orig_keys=_IMAGE, nearest_interp=nearest
        )
        inverted: Tensor = invert({_IMAGE: item[_IMAGE], _PREDICTION: MetaTensor(values)})[
            _PREDICTION
        ]
        return inverted

    def _inverted_argmax(self, item: Item, step: Component) -> Tensor:
        """The first largest channel of every voxel of the image, a few channels at a time."""
        nearest = bool(step.settings.get("nearest_interp", True))
        best: Tensor | None = None
        classes = torch.zeros(0)
        for first in range(0, len(item[_PREDICTION]), _CHANNELS_AT_ONCE):
            part = item[_PREDICTION][first : first + _CHANNELS_AT_ONCE]
            value, index = self._inverted(item, part, nearest=nearest).max(0, keepdim=True)
            if best is None:
                best, classes = value, index.to(torch.int16)
                continue
            better = value > best
            best = torch.where(better, value, best)
            classes = torch.where(better, index.to(torch.int16) + first, classes)
        return classes

    def _probabilities(self, item: Item, done: tuple[Component, ...]) -> Tensor:
        """Of every channel, on the voxels of the image."""
        values: Tensor = item[_PREDICTION]
        if values.min() < 0 or values.max() > 1:
            values = values.softmax(0) if self.exclusive else values.sigmoid()
        if not any(step.name == "Invertd" for step in done):
            values = self._inverted(item, values, nearest=False)
        return values.clamp(0, 1)


def one_tile(predictor: Predictor, chain: Chain, tile: tuple[int, int, int]) -> Tensor:
    """Logits of one tile of zeros, for its time and memory."""
    run = ChainRun(predictor, chain, DEFAULT_OPTIONS, silent)
    image = torch.zeros(len(predictor.plan.channels), *tile)
    if chain.inferer.name == "BoxThenWhole":
        answer: Tensor = predictor.network(image[None].to(predictor.device.torch_device))
        return answer
    return run.logits(image[..., 0] if run.flat else image)


def _ends_in_inverse(steps: tuple[Component, ...]) -> bool:
    return bool(steps) and steps[-1].name == "Invertd"


def _with_axes(patch: Tensor, spatial: list[str], order: str) -> Tensor:
    """A tensor (b, c, ...) with the axes that `order` names; those of one voxel may be missing."""
    letters = ["b", "c", *spatial]
    for axis in "cb":
        if axis not in order:
            patch = patch.squeeze(letters.index(axis))
            letters.remove(axis)
    return patch.permute([letters.index(axis) for axis in order])


def _channels_first(tensor: Tensor, order: str, spatial: list[str]) -> Tensor:
    """A tensor whose axes `order` names as (b, c, ...)."""
    letters = list(order)
    for axis in "cb":
        if axis not in letters:
            tensor = tensor[None]
            letters.insert(0, axis)
    return tensor.permute([letters.index(axis) for axis in ("b", "c", *spatial)])


def _is_argmax(step: Component) -> bool:
    return step.name == "AsDiscreted" and bool(step.settings.get("argmax"))


def _made(step: Component, key: str) -> Any:
    """MONAI's transform of a step that the chain has checked."""
    settings = dict(step.settings)
    if step.name in STEPS:
        return functools.partial(_done, STEPS[step.name], settings, key)
    if isinstance(settings.get("dtype"), str):
        settings["dtype"] = getattr(torch, settings["dtype"].rpartition(".")[2], None)
    if step.name == "CropForegroundd":
        settings["source_key"] = key
    if step.name == "Orientationd":
        settings.setdefault("labels", None)  # MONAI's default, which it warns of when not given
    try:
        return getattr(monai.transforms, step.name)(keys=key, **settings)
    except Exception as error:  # MONAI's code; it may raise anything
        raise PackageError(
            f"MONAI's {step.name} refuses its settings: {reason(error)}", code="UNKNOWN_STEP"
        ) from error


def _done(step: Step, settings: dict[str, Any], key: str, item: Item) -> Item:
    return {**item, key: step(item[key], item[_SCAN], settings)}


def _images(scan: Scan, *, flat: bool) -> Iterator[MetaTensor]:
    """The scan as `LoadImaged` gives it; for a network for pictures, each slice."""
    voxels = torch.from_numpy(np.array(scan.voxels, np.float32))
    if not flat:
        yield MetaTensor(voxels, meta=meta_of(scan))
        return
    for k in range(voxels.shape[-1]):
        yield MetaTensor(voxels[..., k], affine=torch.eye(4, dtype=torch.float64))


def _prediction(run: ChainRun, scan: Scan, answers: list[Answer]) -> Prediction:
    """Labels and maps on the scan's grid."""
    predictor, options, grid = run.predictor, run.options, scan.grid
    values = _joined([answer.labels for answer in answers], flat=run.flat)
    value_of = np.zeros(int(max(0, *predictor.labels.values)) + 1, np.uint16)
    for index, value in enumerate(predictor.labels.values, start=1):
        value_of[value] = index
    classes = value_of[values].astype(np.uint8 if len(predictor.labels) < 256 else np.uint16)
    beyond = outside(options.roi, grid.shape) if options.roi is not None else None
    if beyond is not None:
        classes[beyond] = 0
    classes = predictor.postprocessing.labels(classes, spacing_mm=grid.spacing_mm)
    back = np.array((0, *predictor.labels.values))
    back = back.astype(np.uint8 if back.max() < 256 else np.uint16)
    labels = LabelMap(back[classes], grid, predictor.labels, scan.provenance)
    if not run.wants_maps:
        return Prediction(labels)
    probabilities = _joined(
        [np.asarray(a.probabilities) for a in answers if a.probabilities is not None], flat=run.flat
    )
    if beyond is not None:
        probabilities[:, beyond] = 0

    def as_scan(share: npt.NDArray[Any], whole: int, names: tuple[str, ...] = ()) -> Scan:
        bytes_ = (share * whole).round().astype(np.uint8)
        return Scan(bytes_, grid, provenance=scan.provenance, channel_names=names)

    names = tuple(name or "background" for name in run.chain.outputs)
    certain = probabilities.max(0) if run.exclusive else np.abs(probabilities - 0.5).min(0) + 0.5
    return Prediction(
        labels,
        as_scan(1 - certain[None], 100) if options.uncertainty else None,
        as_scan(probabilities[[names.index(options.probability_of)]], 100)
        if options.probability_of
        else None,
        as_scan(probabilities, MOST, names) if options.probabilities else None,
    )


def _joined(parts: list[npt.NDArray[Any]], *, flat: bool) -> npt.NDArray[Any]:
    return np.stack(parts, axis=-1) if flat else parts[0]
