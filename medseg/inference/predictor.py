"""A model at work on a device: a scan in, a label map on the scan's own grid out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.inference.blending import gaussian
from medseg.inference.refined_stream import RefinedStream
from medseg.inference.streaming import LabelStream, LogitsWindow
from medseg.inference.tiling import tile_starts
from medseg.modelpack import ModelPackage, find_package
from medseg.planning import Choice, Plan
from medseg.preparing import prepare_image
from medseg.preparing.placement import Placement
from medseg.refining import UNREFINED, Refining, build_refining
from medseg.runtime.device import Device, choose_device
from medseg.runtime.progress import Progress, silent
from medseg.volume import LabelMap, LabelTable, Scan


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with the plan it was made for and the labels it gives.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on `device`.
    plan : Plan
        From raw scan to network input.
    labels : LabelTable
        Meaning of classes 1, 2... in order. With regions in the plan, each is the part of one
        region that is in no smaller one.
    device : Device
        Where it computes.
    refining : Refining
        Steps after the network. One on probabilities needs those of the whole volume in memory.

    Raises
    ------
    PlanError
        When a step works on probabilities of classes and the network gives those of regions, or
        there are not as many labels as regions.
    """

    network: nn.Module
    plan: Plan
    labels: LabelTable
    device: Device
    refining: Refining = UNREFINED

    def __post_init__(self) -> None:
        self.plan.outputs(self.labels)
        if self.plan.regions and self.refining.on_probabilities:
            raise PlanError(
                "a step on probabilities needs classes that exclude each other and this model gives"
                " regions; leave the step out, or take steps on labels such as components or holes"
            )

    @classmethod
    def load(
        cls,
        package: ModelPackage | str | Path,
        *,
        device: str = "auto",
        refining: tuple[Choice, ...] | None = None,
    ) -> Predictor:
        """A predictor from a model package, its folder, or the name of a shipped model.

        Parameters
        ----------
        package : ModelPackage or str or Path
            See :func:`medseg.modelpack.find_package`.
        device : str, default "auto"
            See :func:`medseg.runtime.device.choose_device`.
        refining : tuple of Choice, optional
            Steps after the network, in place of the model's own; none when empty.

        Returns
        -------
        Predictor

        Raises
        ------
        PackageError
            When the package is unknown, incomplete or altered.
        InputError
            When the device is not there, or a step of `refining` is unknown or does not suit the
            model.
        """
        if not isinstance(package, ModelPackage):
            package = find_package(package)
        chosen = choose_device(device)
        manifest = package.manifest
        steps = build_refining(manifest.refining if refining is None else refining)
        network = package.load_network().to(chosen.torch_device)
        return cls(network, manifest.plan, manifest.labels, chosen, steps)

    def predict(self, scan: Scan, *, progress: Progress = silent) -> LabelMap:
        """Label every voxel of a scan.

        Parameters
        ----------
        scan : Scan
            As read; any orientation and spacing.
        progress : Progress, optional
            Called after every tile; may raise `Cancelled`.

        Returns
        -------
        LabelMap
            On ``scan.grid``, with the scan's provenance.

        Raises
        ------
        InputError
            When the scan does not fit the model (channels, NaN voxels).
        GeometryError
            When the voxels did not come to lie where the plan puts them (a fault in medseg).
        """
        image_CIJK, placement = prepare_image(scan, self.plan)
        found = self._classes(image_CIJK, placement, progress)
        spacing_mm = placement.reorientation.target.spacing_mm
        classes = self.refining.labels(found, spacing_mm=spacing_mm)
        values = np.array((0, *self.labels.values))
        lookup = values.astype(np.uint8 if values.max() < 256 else np.uint16)
        home = np.ascontiguousarray(placement.bring_home(lookup[classes]))
        return LabelMap(home, scan.grid, self.labels, scan.provenance)

    def _classes(self, image_CIJK: Tensor, placement: Placement, progress: Progress) -> np.ndarray:
        """Class index of every voxel of the placement's home shape."""
        padded, before = _pad(image_CIJK, self.plan.patch)
        shape, inner = _extent(padded), _extent(image_CIJK)
        starts = tile_starts(shape, self.plan.patch, self.plan.overlap)
        window = LogitsWindow(
            self.plan.outputs(self.labels),
            shape,
            gaussian(self.plan.patch, self.device.torch_device),
        )
        own = [region[0] for region in self.plan.regions]
        stream = LabelStream(inner, placement.home_shape, regions=own)
        rows = self._rows(stream, image_CIJK, placement)
        crop = _Crop(before, inner)
        for done, start in enumerate(starts):
            progress(done, len(starts), "segmenting")
            if start[0] > window.first:
                rows.feed(crop(window.advance(start[0]), stop=start[0]))
            window.add(self._logits(padded, start), start)
        rows.feed(crop(window.advance(shape[0]), stop=shape[0]))
        progress(len(starts), len(starts), "segmenting")
        return stream.classes

    def _rows(
        self, stream: LabelStream, image_CIJK: Tensor, placement: Placement
    ) -> LabelStream | RefinedStream:
        """Where rows of logits go: to the labels at once, or first through the refining."""
        if not self.refining.on_probabilities:
            return stream
        spacing_mm = placement.prepared.spacing_mm
        return RefinedStream(stream, self.refining, image_CIJK, spacing_mm=spacing_mm)

    @torch.inference_mode()
    def _logits(self, image_CIJK: Tensor, start: tuple[int, int, int]) -> Tensor:
        """Logits of the tile at `start`; shape (L, *patch)."""
        place = tuple(slice(s, s + n) for s, n in zip(start, self.plan.patch, strict=True))
        tile = image_CIJK[(None, slice(None), *place)].to(self.device.torch_device)
        with self.device.autocast():
            logits: Tensor = self.network(tile.to(memory_format=torch.channels_last_3d))[0]
        return logits


@dataclass(frozen=True)
class _Crop:
    """Cuts the padding off rows of logits as they become final."""

    before: tuple[int, int, int]
    inner: tuple[int, int, int]

    def __call__(self, logits_LIJK: Tensor, *, stop: int) -> Tensor:
        first = stop - logits_LIJK.shape[1]
        low = max(self.before[0] - first, 0)
        high = min(self.before[0] + self.inner[0] - first, logits_LIJK.shape[1])
        _, j, k = self.before
        _, height, width = self.inner
        return logits_LIJK[:, low : max(high, low), j : j + height, k : k + width]


def _extent(image_CIJK: Tensor) -> tuple[int, int, int]:
    """Voxel counts of an image."""
    _, i, j, k = image_CIJK.shape
    return i, j, k


def _pad(image_CIJK: Tensor, patch: tuple[int, int, int]) -> tuple[Tensor, tuple[int, int, int]]:
    """Zero-pad an image evenly up to the patch; the padded image and the voxels put before."""
    missing = [max(0, n - size) for n, size in zip(patch, image_CIJK.shape[1:], strict=True)]
    i, j, k = (n // 2 for n in missing)
    pads = [(n // 2, n - n // 2) for n in missing]
    flat = [side for pair in reversed(pads) for side in pair]
    return torch.nn.functional.pad(image_CIJK, flat), (i, j, k)
