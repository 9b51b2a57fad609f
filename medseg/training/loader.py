"""Batches of patches on the device that trains, in the order of the steps.

A batch is a pure function of (seed, step): the same whenever, however often and by however many
workers it is made. Cases lie in the memory of the device where they fit and are mapped from disk
otherwise; either way the patches of a batch are cut and changed together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from math import ceil, prod
from threading import Barrier
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.augmentation import AugmentationPipeline
from medseg.planning import Plan
from medseg.runtime.device import Device
from medseg.runtime.processor import core_count
from medseg.training.cache import Prepared
from medseg.training.device_cases import DEVICE_SHARE, DeviceCases, Triple, free_bytes
from medseg.training.loader_workers import PatchWorkers
from medseg.training.options import TrainingOptions
from medseg.training.own_parts import OwnAugmentation
from medseg.training.sampling import PatchSampler

Augment = AugmentationPipeline | OwnAugmentation
Batch = tuple[Tensor, Tensor]
QUEUE_BYTES = 512 * 2**20
_MOST_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How batches are made; none of it changes them.

    Parameters
    ----------
    rank, world_size : int
        Of every `world_size` patches of a batch this process gets one, from the `rank`-th on.
    workers : int or None
        Processes for transforms that were given in Python; None: by the number of cores.
    device_bytes : int or None
        Memory of the device that cases may take; None: a share of what is free.
    queue_bytes : int
        Memory of batches that are made before they are asked for; one is, however large.
    """

    rank: int = 0
    world_size: int = 1
    workers: int | None = None
    device_bytes: int | None = None
    queue_bytes: int = QUEUE_BYTES

    @property
    def rows(self) -> slice:
        """Numbers of the patches of a batch that are this process's."""
        return slice(self.rank, None, self.world_size)


@contextmanager
def open_loader(
    cases: Sequence[Prepared],
    plan: Plan,
    augment: Augment,
    *,
    options: TrainingOptions,
    device: Device,
    steps: Iterable[int],
    how: LoaderOptions = LoaderOptions(),
) -> Iterator[Iterator[Batch]]:
    """Batches of steps.

    Parameters
    ----------
    cases : sequence of Prepared
    plan : Plan
        Its patch and batch.
    augment : AugmentationPipeline or OwnAugmentation
    options : TrainingOptions
        Its seed, and the share of patches that are centred on a label.
    device : Device
        Where the batches will lie.
    steps : iterable of int
        From 0; may be endless.
    how : LoaderOptions, optional

    Yields
    ------
    iterator of (torch.Tensor, torch.Tensor)
        For each step `image_BCIJK`, float32, and `labels_BIJK`, int64 class indices or
        `medseg.losses.IGNORE`; what lies outside the scan is background.

    Raises
    ------
    InputError
        When transforms that were given fail.
    MedsegError
        When a process with them died; `code` is ``"WORKER"``.
    """
    with ExitStack() as stack:
        maker = (_Given if isinstance(augment, OwnAugmentation) else _Planned)(
            cases, plan, augment, options=options, device=device, how=how
        )
        batches = stack.enter_context(closing(_in_order(maker, steps)))
        stack.callback(maker.close)  # first, so that nothing waits for a patch in the making
        yield batches


class _Maker:
    """Makes the batch of a step: begun ahead in another thread, finished in the one that learns."""

    ahead = 0
    """Batches that are worth beginning before they are asked for."""

    def __init__(
        self,
        cases: Sequence[Prepared],
        plan: Plan,
        augment: Any,
        *,
        options: TrainingOptions,
        device: Device,
        how: LoaderOptions,
    ) -> None:
        self.plan, self.augment, self.seed, self.how = plan, augment, options.seed, how
        self.sampler = PatchSampler(cases, plan, options)
        self.device, self.half = device.torch_device, device.half is not None
        self.on_gpu = self.device.type == "cuda"
        self.cases = self.find(cases)

    def find(self, cases: Sequence[Prepared]) -> DeviceCases:
        """Cases to cut from."""
        return DeviceCases.mapped(cases, pinned=self.on_gpu)

    def begin(self, step: int) -> Batch:
        """Patches as they are cut."""
        crops = self.sampler.crops(step, self.how.rows)
        return self.cases.cut(crops, self.augment.region)

    def finish(self, step: int, batch: Batch) -> Batch:
        """The batch on the device."""
        image, labels = (tensor.to(self.device, non_blocking=self.on_gpu) for tensor in batch)
        return image, labels.long()

    def bounded(self, batches: int) -> int:
        """So many batches, or fewer where they would not fit into the queue."""
        patches = len(range(self.plan.batch)[self.how.rows])
        region: Triple = self.augment.region
        each = max(patches * prod(region) * (4 * len(self.plan.channels) + 1), 1)
        return max(min(batches, self.how.queue_bytes // each), 1)

    def close(self) -> None:
        """End what works for it."""


class _Planned(_Maker):
    """The plan's augmentation, on a GPU where there is one."""

    def find(self, cases: Sequence[Prepared]) -> DeviceCases:
        if not self.on_gpu:
            self.ahead = self.bounded(min(max(core_count() // 4, 1), _MOST_AHEAD))
            return super().find(cases)
        budget = self.how.device_bytes
        if budget is None:
            budget = int(DEVICE_SHARE * free_bytes(self.device))
        kept = DeviceCases.kept(cases, self.device, budget=budget, half=self.half)
        if kept is None:
            self.ahead = self.bounded(min(core_count(), _MOST_AHEAD))
        return kept or super().find(cases)

    def begin(self, step: int) -> Batch:
        batch = super().begin(step)
        return batch if self.on_gpu else self._changed(step, batch)

    def finish(self, step: int, batch: Batch) -> Batch:
        image, labels = super().finish(step, batch)
        return self._changed(step, (image, labels)) if self.on_gpu else (image, labels)

    def _changed(self, step: int, batch: Batch) -> Batch:
        (seed,) = np.random.SeedSequence((self.seed, step, self.plan.batch)).generate_state(1)
        generator = torch.Generator().manual_seed(int(seed))
        changed: Batch = self.augment.batched(
            *batch, generator, of=self.plan.batch, rows=self.how.rows
        )
        return changed


class _Given(_Maker):
    """Transforms that a person gave, patch by patch."""

    def find(self, cases: Sequence[Prepared]) -> DeviceCases:
        self.workers = PatchWorkers(self.augment, self.how.workers)
        self.ahead = self.bounded(1 + ceil(self.workers.count / self.plan.batch))
        return super().find(cases)

    def begin(self, step: int) -> Batch:
        image, labels = super().begin(step)
        crops = self.sampler.crops(step, self.how.rows)
        changed = [
            self.workers.change(image[row], labels[row], crop.seed)
            for row, crop in enumerate(crops)
        ]
        for future in changed:
            future.result()
        return image, labels

    def close(self) -> None:
        self.workers.close()


def _in_order(maker: _Maker, steps: Iterable[int]) -> Generator[Batch, None, None]:
    """Batches in the order of the steps, the next ones in the making."""
    if not maker.ahead:
        for step in steps:
            yield maker.finish(step, maker.begin(step))
        return
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    with ThreadPoolExecutor(maker.ahead, "medseg-batches") as pool:
        _one_core_each(pool, maker.ahead)
        try:
            for step in steps:
                waiting.append((step, pool.submit(maker.begin, step)))
                if len(waiting) > maker.ahead:
                    yield _next(maker, waiting)
            while waiting:
                yield _next(maker, waiting)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _one_core_each(pool: ThreadPoolExecutor, count: int) -> None:
    """Let the threads of a pool compute on one core each.

    More would wait for one another while the network has them, and round otherwise.
    """
    all_begun, cores = Barrier(count), torch.get_num_threads()

    def begin(_: int) -> None:
        torch.get_num_threads()  # asked first, or it would begin again with what is set last
        torch.set_num_threads(1)  # of this thread, and of those that begin after it
        all_begun.wait()

    for _ in pool.map(begin, range(count)):
        torch.set_num_threads(cores)


def _next(maker: _Maker, waiting: deque[tuple[int, Future[Batch]]]) -> Batch:
    step, begun = waiting.popleft()
    return maker.finish(step, begun.result())
