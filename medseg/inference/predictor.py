"""A model at work on a device: a scan in, a label map on the scan's own grid out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medseg.inference.blending import gaussian
from medseg.inference.streaming import LabelStream, LogitsWindow
from medseg.inference.tiling import tile_starts
from medseg.modelpack import ModelPackage, find_package
from medseg.planning import Plan
from medseg.preparing import prepare_image
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
        Meaning of classes 1, 2... in order.
    device : Device
        Where it computes.
    """

    network: nn.Module
    plan: Plan
    labels: LabelTable
    device: Device

    @classmethod
    def load(cls, package: ModelPackage | str | Path, *, device: str = "auto") -> Predictor:
        """A predictor from a model package, its folder, or the name of a shipped model.

        Parameters
        ----------
        package : ModelPackage or str or Path
            See :func:`medseg.modelpack.find_package`.
        device : str, default "auto"
            See :func:`medseg.runtime.device.choose_device`.

        Returns
        -------
        Predictor

        Raises
        ------
        PackageError
            When the package is unknown, incomplete or altered.
        InputError
            When the device is not there.
        """
        if not isinstance(package, ModelPackage):
            package = find_package(package)
        chosen = choose_device(device)
        network = package.load_network().to(chosen.torch_device)
        return cls(network, package.manifest.plan, package.manifest.labels, chosen)

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
        classes = self._classes(image_CIJK, placement.home_shape, progress)
        values = np.array((0, *self.labels.values))
        lookup = values.astype(np.uint8 if values.max() < 256 else np.uint16)
        home = np.ascontiguousarray(placement.bring_home(lookup[classes]))
        return LabelMap(home, scan.grid, self.labels, scan.provenance)

    def _classes(
        self, image_CIJK: Tensor, home_shape: tuple[int, int, int], progress: Progress
    ) -> np.ndarray:
        """Class index of every voxel of `home_shape`."""
        padded, before = _pad(image_CIJK, self.plan.patch)
        shape, inner = _extent(padded), _extent(image_CIJK)
        starts = tile_starts(shape, self.plan.patch, self.plan.overlap)
        window = LogitsWindow(
            len(self.labels) + 1, shape, gaussian(self.plan.patch, self.device.torch_device)
        )
        stream = LabelStream(inner, home_shape)
        crop = _Crop(before, inner)
        for done, start in enumerate(starts):
            progress(done, len(starts), "segmenting")
            if start[0] > window.first:
                stream.feed(crop(window.advance(start[0]), stop=start[0]))
            window.add(self._logits(padded, start), start)
        stream.feed(crop(window.advance(shape[0]), stop=shape[0]))
        progress(len(starts), len(starts), "segmenting")
        return stream.classes

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
