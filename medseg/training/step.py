"""One optimiser step: gradients of a batch, in parts where it does not fit into the memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor

from medseg.inference.oom_fallback import free_memory, is_out_of_memory
from medseg.losses import Loss
from medseg.planning import Plan
from medseg.runtime.device import Device
from medseg.training.distributed import rank_mean
from medseg.training.gpu_memory import in_words, too_small
from medseg.training.recipe import Recipe


@dataclass
class TrainingStep:
    """How a network learns from a batch.

    Parameters
    ----------
    fabric : Fabric
        Precision and processes.
    module : torch.nn.Module
        The network as `fabric` set it up.
    optimizer : torch.optim.Optimizer
        Likewise.
    loss : callable
        Of ``logits_BLIJK`` and class indices.
    plan : Plan
        Its batch is that of all processes.
    recipe : Recipe
    device : Device
    limit : int or None
        Bytes of the device that may be taken; for what is said when they do not suffice.
    """

    fabric: Fabric
    module: _FabricModule
    optimizer: _FabricOptimizer
    loss: Loss
    plan: Plan
    recipe: Recipe
    device: Device
    limit: int | None = None

    def __post_init__(self) -> None:
        self.at_once = self.plan.batch
        self.forward: Callable[[Tensor], Tensor | list[Tensor]] = self.module

    def gradients(
        self, image_BCIJK: Tensor, labels_BIJK: Tensor, *, seed: int, tell: Callable[[str], None]
    ) -> Tensor:
        """Put the batch's gradient, clipped, into the network.

        Parameters
        ----------
        image_BCIJK : torch.Tensor
            This process's patches.
        labels_BIJK : torch.Tensor
            Class indices, or `medseg.losses.IGNORE`.
        seed : int
            Of what is random in the network.
        tell : callable
            Told in a sentence when the batch is taken in smaller parts from now on.

        Returns
        -------
        torch.Tensor, shape (2,)
            Loss, the mean over all patches, and norm of the gradient before it was clipped; on the
            device, so that nobody waits for it.

        Raises
        ------
        MedsegError
            When not even one patch fits into the memory, or a process's part of a shared batch
            does not.
        """
        image = image_BCIJK.to(memory_format=torch.channels_last_3d)
        batch = self.fabric.to_device(image), self.fabric.to_device(labels_BIJK.to(torch.uint8))
        while True:
            torch.manual_seed(seed)
            self.optimizer.zero_grad(set_to_none=True)
            try:
                loss = self._backward(*batch, seed=seed)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._take_less(len(image), tell)
        norm = self.fabric.clip_gradients(
            self.module,
            self.optimizer,
            max_norm=self.recipe.gradient_clip,
            error_if_nonfinite=False,
        )
        return torch.stack((rank_mean(self.fabric, loss), norm.to(loss)))

    def _backward(self, image_BCIJK: Tensor, labels_BIJK: Tensor, *, seed: int) -> Tensor:
        """Add the gradient of the batch's loss to the network's; the loss.

        Processes take the mean of their gradients, so each counts by its share of the patches.
        """
        share = len(image_BCIJK) * self.fabric.world_size / self.plan.batch
        if len(image_BCIJK) <= self.at_once:
            levels = _levels(self.forward(image_BCIJK))
            loss: Tensor = self.total_loss(levels, labels_BIJK) * share
            self.fabric.backward(loss)
            return loss.detach()
        return self._backward_in_parts(image_BCIJK, labels_BIJK, seed=seed)

    def _backward_in_parts(self, image_BCIJK: Tensor, labels_BIJK: Tensor, *, seed: int) -> Tensor:
        """The same for any loss, though not all patches are taken at once.

        The loss is that of all logits together, as Dice over a batch is no mean over patches: all
        logits are computed first, then each part again, for the gradient that its logits have.
        """
        parts = image_BCIJK.split(self.at_once)
        with torch.no_grad():
            logits = [self._seeded(part, seed + number) for number, part in enumerate(parts)]
        whole = [torch.cat(level).requires_grad_() for level in zip(*logits, strict=True)]
        loss = self.total_loss(whole, labels_BIJK)
        self.fabric.backward(loss)
        gradients = [level.grad.split(self.at_once) for level in whole if level.grad is not None]
        for number, part in enumerate(parts):
            levels = self._seeded(part, seed + number)
            torch.autograd.backward(levels, [gradient[number] for gradient in gradients])
        return loss.detach()

    def _seeded(self, image_BCIJK: Tensor, seed: int) -> list[Tensor]:
        """Logits of all levels, with the same dropout for the same seed."""
        torch.manual_seed(seed)
        return _levels(self.forward(image_BCIJK))

    def total_loss(self, levels: list[Tensor], labels_BIJK: Tensor) -> Tensor:
        """Loss over all levels; each coarser one counts half of the one before."""
        weights = [0.5**level for level in range(len(levels))]
        losses = [
            weight / sum(weights) * self.loss(level, nearest(labels_BIJK, level.shape[2:]))
            for weight, level in zip(weights, levels, strict=True)
        ]
        return torch.stack([loss.float() for loss in losses]).sum()

    def _take_less(self, patches: int, tell: Callable[[str], None]) -> None:
        """Halve the patches that are taken at once."""
        self.optimizer.zero_grad(set_to_none=True)
        free_memory()
        before = min(self.at_once, patches)
        if before == 1 or self.fabric.world_size > 1:
            raise too_small(self.device, before, self.plan.patch, self.limit)
        self.at_once = before // 2
        within = f" of {in_words(self.limit)}" if self.limit else ""
        tell(
            f"Memory{within} on {self.device.torch_device} does not hold a step of {before} patches"
            f" at once: it is computed for {self.at_once} at a time, which is the same step,"
            " and slower."
        )


def _levels(logits: Tensor | list[Tensor]) -> list[Tensor]:
    return logits if isinstance(logits, list) else [logits]


def nearest(labels_BIJK: Tensor, size: torch.Size) -> Tensor:
    """Labels on a coarser grid: at each point those of the voxel that PyTorch's ``nearest`` takes.

    Parameters
    ----------
    labels_BIJK : torch.Tensor
    size : torch.Size
        Voxels along each axis.
    """
    for axis, (fine, coarse) in enumerate(zip(labels_BIJK.shape[1:], size, strict=True), start=1):
        if fine % coarse == 0:
            every = (slice(None),) * axis + (slice(None, None, fine // coarse),)
            labels_BIJK = labels_BIJK[every]
        else:
            voxels = torch.arange(coarse, device=labels_BIJK.device) * fine // coarse
            labels_BIJK = labels_BIJK.index_select(axis, voxels)
    return labels_BIJK
