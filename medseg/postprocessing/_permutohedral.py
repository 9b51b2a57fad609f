"""Gaussian filtering in many dimensions at once, on a sparse lattice of simplices.

After Adams, Baek and Davis, Fast high-dimensional filtering using the permutohedral lattice,
Computer Graphics Forum 29, 2010. A lattice point lies in the plane of d + 1 coordinates whose sum
is zero, and all its coordinates leave the same remainder when divided by d + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.errors import InputError

_LARGEST_KEY = 2**62
_FARTHEST = 1e5
_TOO_NARROW = (
    "the CRF's kernels are too narrow for this image ({}); try a larger appearance_mm or intensity"
)


@dataclass(frozen=True, eq=False)
class Lattice:
    """The lattice points around N points, and how values go there and back.

    Parameters
    ----------
    vertices : torch.Tensor, shape (N, d + 1)
        The d + 1 lattice points around each point, by number.
    shares : torch.Tensor, shape (N, d + 1)
        Barycentric weight of each; they sum to 1.
    order, starts : torch.Tensor, shapes (N (d + 1),) and (V,)
        Entries of the two above, sorted by lattice point, and where each point's entries start.
    neighbours : torch.Tensor, shape (d + 1, 2, V)
        The next lattice points along each of the d + 1 directions; V stands for none.
    """

    vertices: Tensor
    shares: Tensor
    order: Tensor
    starts: Tensor
    neighbours: Tensor

    @classmethod
    def of(cls, features_Nd: Tensor) -> Lattice:
        """The lattice of N points in d dimensions, in units of the Gaussian's standard deviation.

        Raises
        ------
        InputError
            When the points lie too far apart to be numbered.
        """
        farthest = float(features_Nd.abs().max())
        if not farthest <= _FARTHEST:
            raise InputError(_TOO_NARROW.format(f"it spans {farthest:.3g} standard deviations"))
        quotient_NdD, share_ND = _enclosing(features_Nd.double())
        key_ND, strides = _keys(quotient_NdD)
        directions = key_ND.shape[1]
        sorted_S, order_S = torch.sort(key_ND.flatten())
        points_V, number_S, counts_V = torch.unique_consecutive(
            sorted_S, return_inverse=True, return_counts=True
        )
        vertex_ND = torch.empty_like(number_S).scatter_(0, order_S, number_S).view_as(key_ND)
        starts_V = counts_V.cumsum(0) - counts_V
        neighbours = _neighbours(points_V, strides, directions)
        return cls(vertex_ND, share_ND.to(features_Nd), order_S, starts_V, neighbours)

    def filter(self, values_NL: Tensor) -> Tensor:
        """Sum of the values of all points, weighted by ``exp(-distance**2 / 2)``; shape (N, L).

        The sum is right up to one factor, the same for all points.
        """
        directions = self.vertices.shape[1]
        # splat, blur by (1/2, 1, 1/2) along every direction, slice; an embedding bag is a weighted
        # sum of rows that never holds the N (d + 1) rows themselves
        values_VL = torch.nn.functional.embedding_bag(
            torch.div(self.order, directions, rounding_mode="floor"),
            values_NL,
            self.starts,
            mode="sum",
            per_sample_weights=self.shares.flatten()[self.order],
        )
        zero_1L = values_VL.new_zeros((1, values_VL.shape[1]))
        for next_V, previous_V in self.neighbours:
            padded = torch.cat((values_VL, zero_1L))
            beside_VL = padded.index_select(0, next_V).add_(padded.index_select(0, previous_V))
            values_VL = values_VL.add_(beside_VL, alpha=0.5)
        return torch.nn.functional.embedding_bag(
            self.vertices, values_VL, mode="sum", per_sample_weights=self.shares
        )

    def own_share(self) -> Tensor:
        """The weight that `filter` gives each point's own value; shape (N,).

        Two corners of a simplex that are m steps apart are blurred into each other along m
        directions, or the other way round along d + 1 - m.
        """
        directions = self.vertices.shape[1]
        steps = torch.arange(directions, device=self.shares.device)
        steps_apart = (steps[:, None] - steps[None]).abs().to(self.shares.dtype)
        blurred = 0.5**steps_apart + 0.5 ** (directions - steps_apart)
        own_N: Tensor = ((self.shares @ blurred) * self.shares).sum(1)
        return own_N


def _enclosing(features_Nd: Tensor) -> tuple[Tensor, Tensor]:
    """Quotients (N, d, D) of the D corners of the simplex around each point, and its weights."""
    dims = features_Nd.shape[1]
    directions = dims + 1
    lifted_ND = features_Nd @ _lift(dims).to(features_Nd)
    # Nearest point of remainder 0: round every coordinate to a multiple of d + 1; where the sum is
    # not zero then, those that were rounded the furthest move by one multiple more.
    nearest_ND = torch.round(lifted_ND / directions)
    rest_ND = lifted_ND / directions - nearest_ND
    rank_ND = rest_ND.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    rank_ND += nearest_ND.sum(dim=1, keepdim=True).long()
    shift_ND = (rank_ND < 0).long() - (rank_ND >= directions).long()
    nearest_ND += shift_ND
    rest_ND -= shift_ND
    rank_ND += directions * shift_ND
    share_ND = _barycentric(rest_ND, rank_ND)
    # Corner k adds k to every coordinate and takes d + 1 from the k that are ranked last.
    corner_D = torch.arange(directions, device=rank_ND.device)
    wrapped_NdD = rank_ND[:, :dims, None] >= directions - corner_D
    return nearest_ND[:, :dims, None].long() - wrapped_NdD.long(), share_ND


def _lift(dims: int) -> Tensor:
    """Orthogonal map (d, d + 1) onto the plane, scaled so that the blur's deviation is 1."""
    basis = torch.zeros(dims, dims + 1, dtype=torch.float64)
    for row in range(dims):
        basis[row, : row + 1] = 1
        basis[row, row + 1] = -(row + 1)
    length = basis.norm(dim=1, keepdim=True)
    scale: float = (dims + 1) * (2 / 3) ** 0.5
    lift: Tensor = basis / length * scale
    return lift


def _barycentric(rest_ND: Tensor, rank_ND: Tensor) -> Tensor:
    """Weights of the corners: differences between neighbours in the order of the rests."""
    sorted_ND = torch.empty_like(rest_ND).scatter_(1, rank_ND, rest_ND)
    falling_ND = sorted_ND.flip(1)
    share_ND = falling_ND - torch.nn.functional.pad(falling_ND[:, :-1], (1, 0))
    share_ND[:, 0] += 1 - falling_ND[:, -1]
    return share_ND


def _keys(quotient_NdD: Tensor) -> tuple[Tensor, list[int]]:
    """One number for each corner, and what a step of each quotient adds to it."""
    _, dims, directions = quotient_NdD.shape
    # Coordinate i of corner k is (d + 1) q_i + k and the last follows from the sum, so that
    # (k, q_1 ... q_d) names a lattice point; the key is that tuple as one number, k its last digit.
    low_d = quotient_NdD.amin(dim=(0, 2)) - 1
    sizes = (quotient_NdD.amax(dim=(0, 2)) - low_d + 2).tolist()
    strides = [directions]
    for size in sizes:
        strides.append(strides[-1] * size)
    if strides[-1] >= _LARGEST_KEY:
        raise InputError(_TOO_NARROW.format(f"in {dims} dimensions"))
    key_ND = torch.arange(directions, device=quotient_NdD.device).expand(
        len(quotient_NdD), directions
    )
    for axis, stride in enumerate(strides[:-1]):
        key_ND = key_ND + (quotient_NdD[:, axis] - low_d[axis]) * stride
    return key_ND, strides[:-1]


def _neighbours(points_V: Tensor, strides: list[int], directions: int) -> Tensor:
    """Numbers (D, 2, V) of the points one step forth and back along each direction."""
    count = len(points_V)
    remainder_V = points_V % directions
    # A step along direction i adds 1 to every coordinate and takes d + 1 from the i-th. In the key
    # the first is k + 1, or k = 0 and every q + 1 where k was d already; the second is q_i - 1.
    every = torch.where(remainder_V < directions - 1, 1, sum(strides) - directions + 1)
    neighbours = points_V.new_full((directions, 2, count), count)
    for direction, stride in enumerate([*strides, 0]):
        target_V = points_V + every - stride
        position_V = torch.searchsorted(points_V, target_V).clamp_max(count - 1)
        present_V = torch.nonzero(points_V[position_V] == target_V)[:, 0]
        neighbours[direction, 0, present_V] = position_V[present_V]
        neighbours[direction, 1, position_V[present_V]] = present_V
    return neighbours
