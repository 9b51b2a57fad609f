"""From blended logits to labels without ever holding all classes at full resolution.

Tiles come in ascending order along the first axis, so rows behind the next tile are final. Only
the rows a tile can still touch are kept (`RollingAccumulator`); what is final is turned into labels
at once, on the scan's own voxels, one class at a time with a running maximum (`StreamingArgmax`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medseg.inference.label_blocks import (
    Between,
    Interpolation,
    labels_of,
    largest,
    positions_of,
    spans,
    written,
)
from medseg.inference.options import Roi
from medseg.inference.pointwise_head import PointwiseHead
from medseg.inference.probability_maps import ProbabilityMaps

Triple = tuple[int, int, int]
ROWS_AT_ONCE = 16
"""Rows at the scan's resolution that are reduced together: bounds memory, not results."""
ROWS_FINAL = 8
"""Rows of logits that leave the window together."""
_ROWS_ADDED = 4
_LARGE_BYTES = 2 * 2**30
LINEAR = Interpolation()


class RollingAccumulator:
    """Sum of weighted logits over a window of rows that slides along the first axis.

    Rows stay where they are: the window is a ring, in which row ``n`` lies at ``n % length``.

    Parameters
    ----------
    channels : int
    shape : tuple of int
        Voxels of the whole volume.
    weight_IJK : torch.Tensor
        Weights of a tile's voxels; their first axis is the window's length. With weights in half
        precision the sums are, too.
    """

    def __init__(self, channels: int, shape: Triple, weight_IJK: Tensor) -> None:
        rows = weight_IJK.shape[0]
        self.shape = shape
        self.weight_IJK = weight_IJK
        self.first = 0
        in_half = weight_IJK.dtype == torch.float16
        dtype = weight_IJK.dtype if in_half else sums_dtype(channels, shape, rows)
        self.sum_LIJK = weight_IJK.new_zeros((channels, rows, *shape[1:]), dtype=dtype)
        self.mass_IJK = weight_IJK.new_zeros((rows, *shape[1:]))

    @property
    def length(self) -> int:
        """Rows that the window holds."""
        return self.mass_IJK.shape[0]

    def add(self, logits_LIJK: Tensor, start: Triple) -> None:
        """Blend in one tile that starts at `start`; its first row must be the window's."""
        _, height, width = self.weight_IJK.shape
        first, j, k = start
        box = slice(j, j + height), slice(k, k + width)
        for row, ring in self._runs(first + self.length, _ROWS_ADDED):
            rows = slice(row - first, row - first + ring.stop - ring.start)
            weight = self.weight_IJK[rows]
            # a dense copy of a few rows is twice as fast as adding channels-last to the sums
            some = torch.empty(logits_LIJK[:, rows].shape, device=weight.device)
            some.copy_(logits_LIJK[:, rows]).mul_(weight)
            self.sum_LIJK[(slice(None), ring, *box)] += some
            self.mass_IJK[(ring, *box)] += weight

    def advance(self, row: int) -> Iterator[Tensor]:
        """Final logits of the rows before `row`; the window then starts there.

        Yields
        ------
        logits_LIJK : torch.Tensor
            A few rows each, from ``first`` to `row` (excluded), float32; 0 where no tile has been.
        """
        for first, ring in self._runs(row, ROWS_FINAL):
            # the mean weighted by the Gaussian; tiles come in order, so no later one touches these
            mass = self.mass_IJK[ring]
            final = (self.sum_LIJK[:, ring] / mass.masked_fill(mass == 0, 1)).float()
            self.sum_LIJK[:, ring] = 0
            self.mass_IJK[ring] = 0
            self.first = first + ring.stop - ring.start
            yield final

    def _runs(self, stop: int, most: int) -> Iterator[tuple[int, slice]]:
        """Rows from the first to `stop`, at most `most` together, and where they lie."""
        first = self.first
        while first < stop:
            ring = first % self.length
            rows = min(stop - first, self.length - ring, most)
            yield first, slice(ring, ring + rows)
            first += rows


def sums_dtype(channels: int, shape: Triple, rows: int) -> torch.dtype:
    """How a window's sums are stored: in half precision where single would be large.

    Half keeps 11 bits of a logit, as nnU-Net's sums do; only near ties are decided otherwise.
    """
    single = torch.float32.itemsize * channels * rows * shape[1] * shape[2]
    return torch.float16 if single > _LARGE_BYTES else torch.float32


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
    head : PointwiseHead, optional
        What makes logits of the rows, when those are features.
    roi : tuple of slice, optional
        Voxels of the result to write; all when not given, else others may stay 0.
    interpolation : Interpolation, optional

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
        head: PointwiseHead | None = None,
        roi: Roi | None = None,
        interpolation: Interpolation = LINEAR,
    ) -> None:
        self.regions = regions
        self.head = head
        nearest = interpolation.nearest
        i, j, k = native_shape
        self.wanted, *inner = roi or (slice(0, i), slice(0, j), slice(0, k))
        sides = zip(shape[1:], (j, k), inner, nearest[1:], strict=True)
        self.columns = list(product(*(spans(*side) for side in sides)))
        self.maps = maps if maps is not None and maps.requested else None
        self.classes = np.zeros(native_shape, np.uint8)
        self.same = tuple(shape) == tuple(native_shape)
        self.in_half = interpolation.in_half
        self.positions = positions_of(shape[0], native_shape[0], nearest[0])
        self.nearest = {
            axis: torch.from_numpy(voxels)
            for axis, voxels in enumerate(nearest)
            if axis and voxels is not None
        }
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
        last = min(ready, self.wanted.stop)
        for start in range(max(self.done, self.wanted.start), last, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, last)
            self._write(logits_LIJK, slice(start, stop))
        self.done = ready
        needed = newest if ready == len(self.positions) else int(self.positions[ready])
        keep_from = max(min(needed, newest), self.first)
        self.rows_LIJK = logits_LIJK[:, keep_from - self.first :].clone()
        self.first = keep_from

    def _write(self, logits_LIJK: Tensor, rows: slice) -> None:
        """Class of every voxel of some rows of the result, and the maps there."""
        logits_LIJK, between = self._between(logits_LIJK, self.positions[rows])
        if self.maps is None and logits_LIJK.device.type == "cpu" and not self.in_half:
            for j, k in self.columns:
                logits = self._logits(logits_LIJK[:, :, j.given, k.given])
                labels = labels_of(logits, between, j, k, regions=self.regions)
                self.classes[rows, j.native, k.native] = labels.numpy()
            return
        values = self._interpolated(logits_LIJK, between)
        if self.maps is not None:
            values = self.maps.record(values, rows)
        winner = written(values, self.regions) if self.regions else largest(values, count())
        if self.maps is not None and self.maps.every:
            self.maps.record_every(self._interpolated(logits_LIJK, between), rows)
        self.classes[rows] = winner.cpu().numpy()

    def _between(
        self, logits_LIJK: Tensor, positions: npt.NDArray[np.float64]
    ) -> tuple[Tensor, Between]:
        """The rows that rows of the result lie between, and where."""
        first = int(positions[0]) - self.first
        rows_LIJK = logits_LIJK[:, first : int(positions[-1]) + 2 - self.first]
        lower = torch.from_numpy(positions.astype(np.int64) - self.first - first)
        share = torch.from_numpy((positions % 1).astype(np.float32))
        upper = (lower + 1).clamp_max(rows_LIJK.shape[1] - 1)
        lower, upper, share = (each.to(logits_LIJK.device) for each in (lower, upper, share))
        return rows_LIJK, Between(lower, upper, share)

    def _logits(self, rows_LIJK: Tensor) -> Tensor:
        """All logits of some voxels at once."""
        return rows_LIJK if self.head is None else self.head.all_logits(rows_LIJK)

    def _interpolated(self, logits_LIJK: Tensor, between: Between) -> Iterator[Tensor]:
        """One channel after another at some rows, on the result's own voxels."""
        size = self.classes.shape[1:]
        for logits_IJK in logits_LIJK if self.head is None else self.head.logits(logits_LIJK):
            rows = between(logits_IJK)
            for axis, voxels in self.nearest.items():
                rows = rows.index_select(axis, voxels.to(rows.device))
            grown = rows if self.same else _in_plane(rows, size)
            yield grown.half().float() if self.in_half else grown


def _in_plane(rows_IJK: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of each row to `size`, edges aligned, borders held."""
    grown = torch.nn.functional.interpolate(
        rows_IJK[None], size=size, mode="bilinear", align_corners=False
    )
    return grown[0]
