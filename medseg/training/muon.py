"""Muon: kernels move by an orthogonal matrix, so no direction of their input is left behind.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). torch has it from
2.9 on and for matrices only; here a kernel is the matrix of its first axis against all others. What
is no matrix (norms, biases, and the few-channel kernels of heads) moves by Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

ADAM_SHARE = 0.1
"""Of the learning rate, for weights that are no matrix."""
ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
FEWEST = 8
"""Rows and columns of a matrix; a head with fewer outputs moves by Adam."""
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of the iteration ``a X + b X Xt X + c (X Xt)2 X``, which draws singular values to about 1."""


class Muon(Optimizer):
    """Nesterov momentum, made orthogonal, for kernels; Adam for the rest.

    Parameters
    ----------
    weights : iterable of torch.nn.Parameter
    lr : float
        Of kernels; the others have a tenth.
    momentum : float, default 0.95
    weight_decay : float, default 0
        Decoupled; of kernels alone.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        every = list(weights)
        groups = [
            {"params": [weight for weight in every if _is_matrix(weight)], "is_matrix": True},
            {"params": [weight for weight in every if not _is_matrix(weight)], "is_matrix": False},
        ]
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move all weights that have a gradient."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if group["is_matrix"]:
                    self._move_matrix(weight, weight.grad, group)
                else:
                    self._move_by_adam(weight, weight.grad, group["lr"] * ADAM_SHARE)

    def _move_matrix(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        mean, momentum = state["momentum"], group["momentum"]
        mean.mul_(momentum).add_(gradient)
        ahead = gradient.add(mean, alpha=momentum).flatten(1)
        rows, columns = ahead.shape
        update = orthogonal(ahead).view_as(weight)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _move_by_adam(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state, (first, second) = self.state[weight], ADAM_BETAS
        if not state:
            state["step"] = torch.zeros((), device=weight.device)
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        mean = state["mean"] / (1 - first ** state["step"])
        square = state["square"] / (1 - second ** state["step"])
        weight.add_(mean / (square.sqrt() + ADAM_EPS), alpha=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest (semi-)orthogonal matrix: singular values of about 1, directions as before.

    Parameters
    ----------
    matrix : torch.Tensor, shape (rows, columns)

    Notes
    -----
    Every step multiplies by a polynomial of ``X Xt``, and these commute. So the steps are made on
    the small square alone, and the matrix is multiplied once by all of them: for kernels, which
    have many more columns than rows, at a fifth of the cost.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    unit = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    a, b, c = QUINTIC
    product = unit
    for _ in range(ITERATIONS):
        factor = a * unit + b * gram + c * gram @ gram
        product = factor @ product
        gram = factor @ gram @ factor
    near: Tensor = product @ x
    return near.T if is_tall else near


def _is_matrix(weight: Tensor) -> bool:
    """Whether a weight is a kernel with enough rows and columns."""
    return weight.dim() >= 2 and len(weight) >= FEWEST and weight[0].numel() >= FEWEST
