"""From blended logits to labels without ever holding all classes at full resolution.

Tiles come in ascending order along the first axis, so rows behind the next tile are final. Only
the rows a tile can still touch are kept (`RollingAccumulator`); what is final is turned into labels
at once, on the scan's own voxels, one class at a time with a running maximum (`StreamingArgmax`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.inference.probability_maps import ProbabilityMaps

Triple = tuple[int, int, int]
ROWS_AT_ONCE = 16
"""Rows at the scan's resolution that are reduced together: bounds memory, not results."""


class RollingAccumulator:
    """Sum of weighted logits over a window of rows that slides along the first axis.

    Parameters
    ----------
    classes : int
    shape : tuple of int
        Voxels of the whole volume.
    weight_IJK : torch.Tensor
        Weights of a tile's voxels; their first axis is the window's length. Sums are stored in
        their number format.
    """

    def __init__(self, classes: int, shape: Triple, weight_IJK: Tensor) -> None:
        rows = weight_IJK.shape[0]
        self.shape = shape
        self.weight_IJK = weight_IJK
        self.first = 0
        self.sum_LIJK = weight_IJK.new_zeros((classes, rows, *shape[1:]))
        self.mass_IJK = weight_IJK.new_zeros((rows, *shape[1:]))

    @property
    def length(self) -> int:
        """Rows that the window holds."""
        return self.mass_IJK.shape[0]

    def add(self, logits_LIJK: Tensor, start: Triple) -> None:
        """Blend in one tile that starts at `start`; its first row must be the window's."""
        _, rows, height, width = logits_LIJK.shape
        _, j, k = start
        region = (slice(0, rows), slice(j, j + height), slice(k, k + width))
        self.sum_LIJK[(slice(None), *region)] += logits_LIJK.float() * self.weight_IJK
        self.mass_IJK[region] += self.weight_IJK

    def advance(self, row: int) -> Tensor:
        """Final logits of the rows before `row`; the window then starts there.

        Returns
        -------
        logits_LIJK : torch.Tensor
            Rows ``first`` to ``row`` (excluded) of the volume, float32; 0 where no tile has been.
        """
        count = row - self.first
        # the mean weighted by the Gaussian; tiles come in order, so no later one touches these rows
        mass_IJK = self.mass_IJK[:count]
        final = (self.sum_LIJK[:, :count] / mass_IJK.masked_fill(mass_IJK == 0, 1)).float()
        remaining = self.mass_IJK.shape[0] - count
        for buffer in (self.sum_LIJK, self.mass_IJK[None]):
            buffer[:, :remaining] = buffer[:, count:].clone()
            buffer[:, remaining:] = 0
        self.first = row
        return final


class StreamingArgmax:
    """Turns rows of logits into class indices at another resolution, as the rows arrive.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the logits' volume.
    native_shape : tuple of int
        Voxels of the result, covering the same box edge to edge.
    regions : sequence of int, optional
        When channels are regions that hold one another: the class each of them writes. Without it
        channels are the classes 0, 1, 2...
    maps : ProbabilityMaps, optional
        Maps of probability to write along with the classes.
    nearest : mapping of int to ndarray of int, optional
        For each axis along which nothing is interpolated: the row of logits of each of the result.
    half : bool, default False
        Whether interpolated logits are rounded to half precision, as nnU-Net's are.

    Notes
    -----
    Logits are interpolated linearly, then the largest wins, which is what interpolating all
    classes and taking `argmax` gives; only the order of work differs. A region is where its logit
    is positive, its probability being above one half, and later regions overwrite earlier ones, as
    in nnU-Net.
    """

    def __init__(
        self,
        shape: Triple,
        native_shape: Triple,
        *,
        regions: Sequence[int] = (),
        maps: ProbabilityMaps | None = None,
        nearest: Mapping[int, npt.NDArray[np.intp]] | None = None,
        half: bool = False,
    ) -> None:
        self.regions = regions
        self.maps = maps if maps is not None and maps.requested else None
        self.classes = np.zeros(native_shape, np.uint8)
        self.same = tuple(shape) == tuple(native_shape)
        self.half = half
        positions = (np.arange(native_shape[0]) + 0.5) * shape[0] / native_shape[0] - 0.5
        self.nearest = {axis: torch.from_numpy(rows) for axis, rows in (nearest or {}).items()}
        self.positions = np.clip(positions, 0, shape[0] - 1)
        if 0 in self.nearest:
            self.positions = self.nearest.pop(0).double().numpy()
        self.last_row = shape[0] - 1
        self.done = 0
        self.rows_LIJK: Tensor | None = None
        self.first = 0

    def feed(self, logits_LIJK: Tensor) -> None:
        """Take the next rows; every label that no later row can change is written."""
        if self.rows_LIJK is not None:
            logits_LIJK = torch.cat((self.rows_LIJK, logits_LIJK), dim=1)
        # a row of the result lies between two rows of logits, and is final once both are here
        newest = self.first + logits_LIJK.shape[1] - 1
        ready = len(self.positions)
        if newest < self.last_row:
            ready = int(np.searchsorted(self.positions, newest, side="right"))
        for start in range(self.done, ready, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, ready)
            self._write(logits_LIJK, slice(start, stop))
        self.done = ready
        needed = newest if ready == len(self.positions) else int(self.positions[ready])
        keep_from = max(min(needed, newest), self.first)
        self.rows_LIJK = logits_LIJK[:, keep_from - self.first :].clone()
        self.first = keep_from

    def _write(self, logits_LIJK: Tensor, rows: slice) -> None:
        """Class of every voxel of some rows of the result, and the maps there."""
        values = self._interpolated(logits_LIJK, self.positions[rows])
        if self.maps is not None:
            values = self.maps.record(values, rows)
        winner = _written(values, self.regions) if self.regions else _largest(values)
        if self.maps is not None and self.maps.every:
            again = self._interpolated(logits_LIJK, self.positions[rows])
            self.maps.record_every(again, rows)
        self.classes[rows] = winner.cpu().numpy()

    def _interpolated(
        self, logits_LIJK: Tensor, positions: npt.NDArray[np.float64]
    ) -> Iterator[Tensor]:
        """One channel after another at rows `positions`, on the result's own voxels."""
        lower = torch.from_numpy(np.floor(positions).astype(np.int64) - self.first)
        fraction = torch.from_numpy((positions % 1).astype(np.float32)).to(logits_LIJK.device)
        upper = (lower + 1).clamp_max(logits_LIJK.shape[1] - 1)
        size = self.classes.shape[1:]
        for logits_IJK in logits_LIJK:
            rows = torch.lerp(logits_IJK[lower], logits_IJK[upper], fraction[:, None, None])
            for axis, nearest in self.nearest.items():
                rows = rows.index_select(axis, nearest.to(rows.device))
            grown = rows if self.same else _in_plane(rows, size)
            yield grown.half().float() if self.half else grown


def _largest(values: Iterator[Tensor]) -> Tensor:
    """Index of the channel with the largest value at each voxel, the first among equals."""
    best = next(values)
    winner = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for index, value in enumerate(values, start=1):
        winner.masked_fill_(value > best, index)
        best = torch.maximum(best, value)
    return winner


def _written(values: Iterator[Tensor], regions: Sequence[int]) -> Tensor:
    """Class of the last channel with a positive value at each voxel, 0 where there is none."""
    first = next(values)
    winner = (first > 0).to(torch.uint8) * regions[0]
    for region, value in zip(regions[1:], values, strict=True):
        winner.masked_fill_(value > 0, region)
    return winner


def _in_plane(rows_IJK: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of each row to `size`, edges aligned, borders held."""
    grown = torch.nn.functional.interpolate(
        rows_IJK[None], size=size, mode="bilinear", align_corners=False
    )
    return grown[0]
