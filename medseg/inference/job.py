"""One scan being labelled: from its prepared image to classes and maps on its own voxels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medseg.inference.blending import Blend
from medseg.inference.label_blocks import Interpolation, Nearest
from medseg.inference.oom_fallback import Fallback
from medseg.inference.options import Options, Roi
from medseg.inference.postprocessed_argmax import PostprocessedArgmax
from medseg.inference.probability_maps import MOST, Percents, ProbabilityMaps
from medseg.inference.roi import outside, roi_on
from medseg.inference.sliding_window import SlidingWindow, extent_of
from medseg.inference.streaming_argmax import StreamingArgmax
from medseg.inference.sweep import Sweep
from medseg.preprocessing.placement import Placement
from medseg.runtime.progress import Progress
from medseg.volume import Grid, Scan
from medseg.volume.resampling import nearest_voxels
from medseg.volume.scan import Provenance

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor


@dataclass(frozen=True, eq=False)
class RawPrediction:
    """Class index of each voxel in the plan's axis order, and the maps there.

    Parameters
    ----------
    classes : ndarray of uint8
        Of the placement's native shape.
    maps : ProbabilityMaps
        Of the same shape, as far as they were asked for.
    """

    classes: npt.NDArray[np.uint8]
    maps: ProbabilityMaps


@dataclass(frozen=True, eq=False)
class InferenceJob:
    """One scan being labelled."""

    predictor: Predictor
    image_CIJK: Tensor  # noqa: N815 - axes in the name, as everywhere
    placement: Placement
    grid: Grid
    provenance: Provenance
    options: Options
    progress: Progress

    def predict(self, attempt: Fallback) -> RawPrediction:
        """Classes and maps, computed in one way.

        Parameters
        ----------
        attempt : Fallback
            Device, tiles, and where they are added up; the network may be elsewhere before and
            is put back there.
        """
        plan = self.predictor.plan
        blend = Blend.of(self.predictor, extent_of(self.image_CIJK), attempt.tile)
        if attempt.device is not self.predictor.device:
            blend = replace(blend, split=None)  # its buffers are on the predictor's device
        sweep = blend.sweep
        native_shape = sweep.turned(self.placement.native_shape)
        image_CIJK = sweep.turn(self.image_CIJK)
        window = sliding_window_of(self.predictor, attempt, self.options, blend)
        channel = self.predictor.channel_of(self.options.probability_of)
        maps = ProbabilityMaps(
            native_shape,
            exclusive=not plan.regions,
            uncertainty=self.options.uncertainty,
            channel=channel,
            every=plan.outputs(self.predictor.labels) if self.options.probabilities else 0,
        )
        stream = StreamingArgmax(
            extent_of(image_CIJK),
            native_shape,
            regions=self.predictor.own_classes,
            maps=maps,
            head=None if blend.split is None else blend.split.head,
            roi=self._native_roi(sweep),
            interpolation=Interpolation(
                sweep.turned(self._nearest()),
                blend.in_half and not (plan.resampling and plan.resampling.logits.torch),
            ),
        )
        rows = self._through_postprocessing(stream)
        roi = self._roi_on_prepared()
        turned_roi = None if roi is None else sweep.turned(roi)
        for logits_LIJK in window.rows(image_CIJK, roi=turned_roi, progress=self.progress):
            rows.feed(logits_LIJK)
        maps.replace_each(sweep.array_back)
        return RawPrediction(self._postprocessed(sweep.array_back(stream.classes)), maps)

    def on_native_grid(self, values: npt.NDArray[Any], *, labels: bool = True) -> npt.NDArray[Any]:
        """Values of the placement's native shape on the scan's own voxels, 0 outside the box."""
        native = np.ascontiguousarray(self.placement.to_native(values, labels=labels))
        if self.options.roi is not None:
            native[outside(self.options.roi, native.shape)] = 0
        return native

    def map_on_native_grid(self, percents: Percents | None) -> Scan | None:
        """A map on the scan's own grid."""
        if percents is None:
            return None
        return Scan(self.on_native_grid(percents)[None], self.grid, provenance=self.provenance)

    def every_on_native_grid(self, maps: ProbabilityMaps) -> Scan | None:
        """The map of each channel on the scan's own grid; each leaves `maps` as it goes home."""
        if not maps.every:
            return None
        names, plan = self.predictor.labels.names, self.predictor.plan
        home = np.zeros((len(maps.every), *self.grid.shape), np.uint8)
        for channel in home:
            channel[...] = self.on_native_grid(maps.every.pop(0), labels=False)
        if not plan.regions:
            home[0][~home.any(axis=0)] = MOST
        regions = tuple(names[region[0] - 1] for region in plan.regions)
        channel_names = regions or ("background", *names)
        return Scan(home, self.grid, provenance=self.provenance, channel_names=channel_names)

    def _through_postprocessing(
        self, stream: StreamingArgmax
    ) -> StreamingArgmax | PostprocessedArgmax:
        """Where rows of logits go: to the labels at once, or first through the postprocessing."""
        if not self.predictor.postprocessing.on_probabilities:
            return stream
        spacing_mm = self.placement.prepared.spacing_mm
        return PostprocessedArgmax(
            stream, self.predictor.postprocessing, self.image_CIJK, spacing_mm=spacing_mm
        )

    def _postprocessed(self, classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """After the steps on labels, which see no label outside the box."""
        target = self.placement.reorientation.target
        if self.options.roi is not None and self.predictor.postprocessing.on_labels:
            roi = roi_on(target, self.options.roi, self.grid)
            classes[outside(roi, classes.shape)] = 0
        return self.predictor.postprocessing.labels(classes, spacing_mm=target.spacing_mm)

    def _nearest(self) -> tuple[Nearest, Nearest, Nearest]:
        """Voxels of logits that those of the scan take, along axes that are not interpolated."""
        plan, native = self.predictor.plan, self.placement.reorientation.target
        if plan.resampling is None:
            return None, None, None
        way = plan.resampling.logits
        across = way.axis_across(plan.spacing_from(native.spacing_mm), native.spacing_mm)
        orders = [way.order_across if axis == across else way.order for axis in range(3)]
        counts = zip(extent_of(self.image_CIJK), native.shape, orders, strict=True)
        i, j, k = (
            None if order else nearest_voxels(before, after, single=way.torch)
            for before, after, order in counts
        )
        return i, j, k

    def _native_roi(self, sweep: Sweep) -> Roi | None:
        """The box on the result's voxels, in the sweep's order."""
        if self.options.roi is None:
            return None
        target = self.placement.reorientation.target
        return sweep.turned(roi_on(target, self.options.roi, self.grid, margin=1))

    def _roi_on_prepared(self) -> Roi | None:
        if self.options.roi is None:
            return None
        return roi_on(self.placement.prepared, self.options.roi, self.grid, margin=1)


def sliding_window_of(
    predictor: Predictor, attempt: Fallback, options: Options, blend: Blend
) -> SlidingWindow:
    """The pass of a model's network that some options ask for."""
    overlap = predictor.plan.overlap if options.overlap is None else options.overlap
    network = predictor.network if blend.split is None else blend.split.trunk
    turned = replace(attempt, tile=blend.sweep.turned(attempt.tile))
    return SlidingWindow(
        blend.sweep.network(network), turned, overlap, predictor.plan.blending, blend.in_half
    )
