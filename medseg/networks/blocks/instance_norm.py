"""Instance norm that runs in channels-last order, forward and backward, on a CPU.

PyTorch's `InstanceNorm3d` leaves channels-last order; `GroupNorm` with one channel a group is the
same mathematics and keeps it, but its backward pass in bfloat16 takes 60 % of a training step.
The backward pass here is the textbook formula in three passes over memory
(benchmarks/unet_forms.py measures all three).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class InstanceNorm(nn.GroupNorm):
    """Normalise every channel of every sample to mean 0 and variance 1, then scale and shift.

    Parameters
    ----------
    channels : int
        Channels of the input ``x_BCIJK`` (or ``x_BCIJ``).
    eps : float, default 1e-5

    Notes
    -----
    A map of one voxel has no variance: normalised, nothing would be left of it. It is scaled and
    shifted only.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, channels, eps=eps)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if math.prod(input.shape[2:]) == 1:
            view = (1, -1, *(1 for _ in input.shape[2:]))
            shift_1C = self.bias.to(input.dtype).view(view)
            return torch.addcmul(shift_1C, input, self.weight.to(input.dtype).view(view))
        if input.device.type == "cpu" and torch.is_grad_enabled():
            normed: Tensor = _ChannelsLastNorm.apply(  # type: ignore[no-untyped-call]
                input, self.weight, self.bias, self.eps
            )
            return normed
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class _ChannelsLastNorm(torch.autograd.Function):
    """Forward by `native_group_norm`; backward as in Ioffe and Szegedy (2015), section 3."""

    @staticmethod
    def forward(ctx: Any, x_BCIJK: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float) -> Tensor:
        batch, channels = x_BCIJK.shape[:2]
        voxels = x_BCIJK[0, 0].numel()
        scale, shift = weight_C.to(x_BCIJK.dtype), bias_C.to(x_BCIJK.dtype)
        normed, mean, rstd = torch.native_group_norm(
            x_BCIJK, scale, shift, batch, channels, voxels, channels, eps
        )
        ctx.save_for_backward(x_BCIJK, weight_C, mean, rstd)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BCIJK: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        # dx = w rstd (dy - mean(dy) - xhat mean(dy xhat)), xhat = (x - mean) rstd, is affine in dy
        # and x: gain dy + slope x + shift, three numbers a channel. Their sums are taken in
        # float32: bfloat16 has 8 bits, and a map may have millions of voxels.
        x_BCIJK, weight_C, mean, rstd = ctx.saved_tensors
        x_BSC, grad_BSC = _flat(x_BCIJK), _flat(grad_BCIJK)
        voxels, exact = x_BSC.shape[1], torch.promote_types(x_BSC.dtype, torch.float32)
        mean_BC, rstd_BC = mean.to(exact), rstd.to(exact)
        sum_BC = grad_BSC.sum(1, dtype=exact)
        weighted_BC = (grad_BSC * x_BSC).sum(1, dtype=exact)
        cross_BC = (weighted_BC - mean_BC * sum_BC) * rstd_BC
        gain_BC = weight_C.to(exact) * rstd_BC
        slope_BC = -gain_BC * rstd_BC * cross_BC / voxels
        shift_BC = -gain_BC * sum_BC / voxels - slope_BC * mean_BC
        dtype = x_BSC.dtype
        out = torch.addcmul(shift_BC[:, None].to(dtype), grad_BSC, gain_BC[:, None].to(dtype))
        out.addcmul_(x_BSC, slope_BC[:, None].to(dtype))
        shape = (x_BCIJK.shape[0], *x_BCIJK.shape[2:], x_BCIJK.shape[1])
        return out.view(shape).movedim(-1, 1), cross_BC.sum(0), sum_BC.sum(0), None


def _flat(x_BCIJK: Tensor) -> Tensor:
    """``x_BSC`` with all spatial axes as one; a view when `x_BCIJK` is channels-last."""
    return x_BCIJK.movedim(1, -1).reshape(x_BCIJK.shape[0], -1, x_BCIJK.shape[1])
