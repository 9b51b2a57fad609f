"""The few sums all overlap losses are made of, taken without one-hot labels.

For each class they are the probability shared with the truth, the probability given out and the
true voxels; beside them the log-probability of the truth at each voxel, which is all that
cross-entropy and focal loss need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medseg.errors import PlanError
from medseg.losses import IGNORE

ClassWeights = tuple[Annotated[float, msgspec.Meta(gt=0)], ...]
SMALLEST_WEIGHT = 1e-12
"""Divides the loss of a batch in which no voxel counts."""
Regions = tuple[tuple[Annotated[int, msgspec.Meta(ge=0, lt=IGNORE)], ...], ...]


@dataclass(frozen=True, eq=False)
class OverlapSums:
    """How far logits and labels agree, ignored voxels left out.

    Parameters
    ----------
    shared : torch.Tensor, shape (B, L)
        Probability of each class summed over its true voxels, for each patch.
    predicted : torch.Tensor, shape (B, L)
        Probability of each class summed over all voxels that count.
    true : torch.Tensor, shape (B, L)
        Voxels of each class.
    log_truth : torch.Tensor
        Log-probability of what is true, 0 at ignored voxels; of shape (B, I, J, K), or
        (B, R, I, J, K) for regions.
    count : torch.Tensor
        How many entries of `log_truth` count; a scalar, at least 1.
    """

    shared: Tensor
    predicted: Tensor
    true: Tensor
    log_truth: Tensor
    count: Tensor

    def sums(self, *, batch: bool, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Shared, predicted and true sums of the classes from `first` on; shape (B, L) or (1, L).

        Parameters
        ----------
        batch : bool
            Whether to add up the patches of the batch; the sums then have shape (1, L).
        first : int, default 0
            1 leaves the background out.
        """
        totals = (self.shared, self.predicted, self.true)
        shared, predicted, true = (
            (total.sum(0, keepdim=True) if batch else total)[:, first:] for total in totals
        )
        return shared, predicted, true

    def cross_entropy(self, *, gamma: float = 0.0, weights_BIJK: Tensor | None = None) -> Tensor:
        """Mean over voxels of ``-(1 - p)^gamma log p``, p being the truth's probability.

        Parameters
        ----------
        gamma : float, default 0
            0 is cross-entropy; from 1 on it is focal loss (Lin et al., ICCV 2017), in which
            voxels that are already right weigh little.
        weights_BIJK : torch.Tensor, optional
            Of each voxel, 0 where it is ignored; the mean is then ``sum(w nll) / sum(w)``, as in
            ``torch.nn.CrossEntropyLoss(weight=...)``.
        """
        nll = -self.log_truth
        if gamma:
            nll = nll * (-self.log_truth.expm1()) ** gamma
        if weights_BIJK is None:
            return nll.sum() / self.count
        return (nll * weights_BIJK).sum() / weights_BIJK.sum().clamp_min(SMALLEST_WEIGHT)


def overlap_sums(
    logits_BLIJK: Tensor, labels_BIJK: Tensor, *, regions: Regions = ()
) -> OverlapSums:
    """Compare logits with labels.

    Parameters
    ----------
    logits_BLIJK : torch.Tensor
        Of any floating type, in 2-D or 3-D.
    labels_BIJK : torch.Tensor
    regions : tuple of tuple of int, optional
        Class indices each region is made of. Channels are then regions that may overlap, each
        with a probability of its own (sigmoid); without regions they are classes that exclude
        each other (softmax).

    Raises
    ------
    PlanError
        When there are not as many channels as regions.
    """
    labels = labels_BIJK.long()
    ignored = labels == IGNORE
    labels = labels.masked_fill(ignored, 0)
    if regions:
        return _of_regions(logits_BLIJK.float(), region_masks(labels, regions), ignored)
    return _of_classes(logits_BLIJK.float(), labels, ignored)


def first_structure(regions: Regions) -> int:
    """The first channel that is no background: 1 among classes, 0 among regions."""
    return 0 if regions else 1


def check_weights(weights: ClassWeights, regions: Regions) -> None:
    """Refuse class weights beside regions.

    Raises
    ------
    PlanError
        When there are both.
    """
    if weights and regions:
        raise PlanError(
            "class weights need labels that exclude each other, and these are regions; leave the"
            " class weights out"
        )


def voxel_weights(labels_BIJK: Tensor, weights: ClassWeights, *, channels: int) -> Tensor | None:
    """The weight of each voxel's class, of shape (B, I, J, K), 0 where it is ignored; or None.

    Parameters
    ----------
    labels_BIJK : torch.Tensor
    weights : tuple of float
        Of the background and of every label; empty for none.
    channels : int
        Of the network.

    Raises
    ------
    PlanError
        When there are not as many weights as channels.
    """
    if not weights:
        return None
    if len(weights) != channels:
        raise PlanError(
            f"there are {len(weights)} class weights and {channels} classes; give one for the"
            " background and one for each label"
        )
    table = torch.zeros(IGNORE + 1)
    table[: len(weights)] = torch.tensor(weights)
    return table.to(labels_BIJK.device)[labels_BIJK.long()]


def region_masks(labels_BIJK: Tensor, regions: Regions) -> Tensor:
    """Where each region is, of shape (B, R, I, J, K), as bool."""
    table = torch.zeros((IGNORE, len(regions)), dtype=torch.bool)
    for row, members in enumerate(regions):
        table[list(members), row] = True
    return table.to(labels_BIJK.device)[labels_BIJK].movedim(-1, 1)


def _of_regions(logits_BRIJK: Tensor, masks_BRIJK: Tensor, ignored_BIJK: Tensor) -> OverlapSums:
    """Each channel a decision of its own."""
    if logits_BRIJK.shape[1] != masks_BRIJK.shape[1]:
        raise PlanError(
            f"the network gives {logits_BRIJK.shape[1]} channels and the loss has"
            f" {masks_BRIJK.shape[1]} regions; give as many regions as channels"
        )
    counts = ~ignored_BIJK[:, None]
    truth = masks_BRIJK & counts
    space = tuple(range(2, logits_BRIJK.ndim))
    probability = logits_BRIJK.sigmoid() * counts
    towards_truth = torch.where(masks_BRIJK, logits_BRIJK, -logits_BRIJK)
    log_truth = torch.nn.functional.logsigmoid(towards_truth).masked_fill(~counts, 0)
    return OverlapSums(
        shared=(probability * truth).sum(space),
        predicted=probability.sum(space),
        true=truth.sum(space),
        log_truth=log_truth,
        count=(counts.sum() * masks_BRIJK.shape[1]).clamp_min(1),
    )


def _of_classes(logits_BLIJK: Tensor, labels_BIJK: Tensor, ignored_BIJK: Tensor) -> OverlapSums:
    """Channels that exclude each other; no tensor but the probabilities has L channels."""
    batch, classes = logits_BLIJK.shape[:2]
    log_truth, predicted_BL = _SoftmaxSums.apply(  # type: ignore[no-untyped-call]
        logits_BLIJK, labels_BIJK, ignored_BIJK
    )
    # One row for each class of each patch, and a last one for ignored voxels: a count and a sum by
    # row stand for the one-hot maps. In float64, as float32 loses count in sums over millions.
    first_row = classes * torch.arange(batch, device=labels_BIJK.device)
    rows = labels_BIJK.flatten(1) + first_row[:, None]
    rows = rows.masked_fill(ignored_BIJK.flatten(1), batch * classes).flatten()
    true = torch.bincount(rows, minlength=batch * classes + 1)
    exact = torch.float32 if logits_BLIJK.device.type == "mps" else torch.float64
    shared = torch.zeros(true.shape, dtype=exact, device=rows.device)
    shared = shared.index_add(0, rows, log_truth.exp().flatten().to(exact))
    return OverlapSums(
        shared=shared[:-1].view(batch, classes),
        predicted=predicted_BL,
        true=true[:-1].view(batch, classes),
        log_truth=log_truth,
        count=true[:-1].sum().clamp_min(1),
    )


class _SoftmaxSums(torch.autograd.Function):
    """Log-probability of the true class at each voxel, and probability of each class in all.

    Written out because autograd would keep three tensors as large as the logits, and walk them
    eight times; this keeps one. With p the softmax, ``h`` the gradient of the log-probability and
    ``g`` that of the sums, the gradient at class l is ``p_l (g_l - sum_m p_m g_m - h)``, plus
    ``h`` at the true class.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_BLIJK: Tensor, labels_BIJK: Tensor, ignored_BIJK: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_p = logits_BLIJK.log_softmax(1)
        log_truth = log_p.gather(1, labels_BIJK[:, None])[:, 0]
        p = log_p.exp_()
        if ignored_BIJK.any():
            p.masked_fill_(ignored_BIJK[:, None], 0)
            log_truth.masked_fill_(ignored_BIJK, 0)
        ctx.save_for_backward(p, labels_BIJK, ignored_BIJK)
        return log_truth, p.sum(tuple(range(2, p.ndim)))

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_log_truth_BIJK: Tensor, of_sums_BL: Tensor
    ) -> tuple[Tensor, None, None]:
        p, labels_BIJK, ignored_BIJK = ctx.saved_tensors
        h = of_log_truth_BIJK.masked_fill(ignored_BIJK, 0)
        gradient = p * of_sums_BL[(..., *(None,) * (p.ndim - 2))]
        everywhere = gradient.sum(1).add_(h).neg_()
        gradient.addcmul_(p, everywhere[:, None])
        gradient.scatter_add_(1, labels_BIJK[:, None], h[:, None])
        return gradient, None, None
