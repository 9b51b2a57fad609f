"""The loop: draw a batch, step the optimiser, remember, look at held-out cases now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from msgspec import structs
from torch import Tensor, nn

from medseg.augmentation import build_augmentation
from medseg.errors import InputError, MedsegError
from medseg.losses import build_loss
from medseg.planning import Plan
from medseg.runtime.device import Device, channels_last
from medseg.runtime.progress import Progress
from medseg.training.cache import Prepared
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.history import History
from medseg.training.options import TrainingOptions
from medseg.training.own_parts import OwnAugmentation, OwnParts, TrainingEvent
from medseg.training.run_status import CHECKPOINT
from medseg.training.sampling import draw_batch
from medseg.training.schedule import learning_rate
from medseg.training.state import State

DEFAULT_STEPS = 2_000
SEEDS_APART = 1_000_003
"""Between two runs' seeds of what is random inside a network, one for each step."""
CALIBRATION = (5, 50)
"""Steps whose time says how many fit in the minutes asked for."""
CALIBRATION_SHARE = 0.05
"""Share of those minutes after which fewer steps must do."""
TRAINING_SHARE = 0.93
"""Share of the minutes asked for that goes to steps; validation takes the rest."""
SECONDS_BETWEEN_CHECKPOINTS = 30.0
Validate = Callable[[], dict[str, float]]


@dataclass
class Trainer:
    """A run in memory.

    Parameters
    ----------
    network : torch.nn.Module
        To be trained, in place.
    plan : Plan
    options : TrainingOptions
        Steps or minutes, learning rate, seed.
    device : Device
    run : Path
        Folder for checkpoint and history.
    validate : callable
        Gives mean Dice by label; called `options.validations` times with `network` in
        evaluation mode.
    own : OwnParts
        Loss, augmentation and callbacks of Python.
    """

    network: nn.Module
    plan: Plan
    options: TrainingOptions
    device: Device
    run: Path
    validate: Validate
    own: OwnParts = field(default_factory=OwnParts)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        half = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", None: "32-true"}
        kind = self.device.torch_device
        self.fabric = Fabric(
            accelerator=kind.type,
            devices=[kind.index or 0] if kind.type == "cuda" else 1,
            precision=half[self.device.half],
        )
        channels_last(self.network)
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.options.peak_rate, weight_decay=1e-2
        )
        self.module, self.optimizer = self.fabric.setup(self.network, optimizer)
        self.loss = build_loss(self.plan, given=self.own.loss)
        self.state = State(step=0, total_steps=self.options.steps or 0, seconds=0.0)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.run / CHECKPOINT

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint.is_file():
            state = load_checkpoint(self.checkpoint, self.network, self.optimizer.optimizer)
            total = max(state.total_steps, self.options.steps or 0)
            self.state = structs.replace(state, total_steps=total)

    def fit(self, cases: Sequence[Prepared], *, progress: Progress) -> None:
        """Train to the last step.

        Parameters
        ----------
        cases : sequence of Prepared
        progress : Progress
            Called after every step. Whatever it raises ends the run with a checkpoint.

        Raises
        ------
        InputError
            When no case holds a label.
        """
        if not any(len(voxels) for case in cases for voxels in case.foreground_voxels):
            raise InputError(
                f"none of the {len(cases)} label maps to train on holds a label, so there is"
                " nothing to learn; draw the structures, or correct the label maps"
            )
        clock = _Clock(self.state.seconds)
        with History(self.run, after=self.state.step) as history:
            try:
                for image, labels in self._batches(cases):
                    loss = self._step(image, labels)
                    if self._after_step(loss, clock, history, progress):
                        break
            finally:
                save_checkpoint(self.checkpoint, self.network, self.optimizer.optimizer, self.state)

    def _batches(self, cases: Sequence[Prepared]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from the current step on, each drawn while the one before is learnt."""
        own = self.own.augmentation
        augment = build_augmentation(self.plan) if own is None else OwnAugmentation(own, self.plan)

        def draw(step: int) -> tuple[Tensor, Tensor]:
            return draw_batch(cases, self.plan, augment=augment, seed=self.options.seed, step=step)

        with ThreadPoolExecutor(1, "medseg-batches") as pool:
            following = pool.submit(draw, self.state.step)
            while self.state.total_steps == 0 or self.state.step < self.state.total_steps:
                batch = following.result()
                following = pool.submit(draw, self.state.step + 1)
                yield batch
            following.cancel()

    def _step(self, image_BCIJK: Tensor, labels_BIJK: Tensor) -> float:
        """One optimiser step; the loss."""
        self.module.train()
        torch.manual_seed(self.options.seed * SEEDS_APART + self.state.step)  # dropout's numbers
        state, peak = self.state, self.options.peak_rate
        rate = learning_rate(state.step, state.total_steps or DEFAULT_STEPS, peak)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        image = self.fabric.to_device(image_BCIJK.to(memory_format=torch.channels_last_3d))
        logits = self.module(image)
        loss = self._total_loss(logits, self.fabric.to_device(labels_BIJK))
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=12.0, error_if_nonfinite=False
        )
        scaled = self.device.half is torch.float16  # the scaler leaves such a step out by itself
        if norm is not None and not scaled and not torch.isfinite(norm):
            raise self._diverged(f"gave a gradient of {norm.item()}")
        self.optimizer.step()
        return float(loss.detach())

    def _total_loss(self, logits: Tensor | list[Tensor], labels_BIJK: Tensor) -> Tensor:
        """Loss over all levels; each coarser one counts half of the one before."""
        levels = logits if isinstance(logits, list) else [logits]
        weights = [0.5**level for level in range(len(levels))]
        total = labels_BIJK.new_zeros((), dtype=torch.float32)
        for weight, level_BLIJK in zip(weights, levels, strict=True):
            size = level_BLIJK.shape[2:]
            target = nn.functional.interpolate(labels_BIJK[:, None].float(), size=size)[:, 0]
            total = total + weight / sum(weights) * self.loss(level_BLIJK, target)
        if not torch.isfinite(total):
            raise self._diverged(f"became {total.item()}")
        return total

    def _diverged(self, what: str) -> MedsegError:
        """The error of a step that no optimiser should take."""
        done = self.state.step
        kept = f"; the {done} steps before it are kept, but end there again" if done else ""
        return MedsegError(
            f"the loss '{self.plan.loss.name}' {what} at step {done + 1}{kept}; start another run"
            f" with a --learning-rate below {self.options.peak_rate:g}, or check the scans for"
            " extreme intensities and the plan's normalisation",
            code="DIVERGED",
        )

    def _after_step(self, loss: float, clock: _Clock, history: History, progress: Progress) -> bool:
        """Count, record, validate and save as the step asks for; whether to stop."""
        step = self.state.step + 1
        total = self.state.total_steps or self._calibrate(step, clock)
        self.state = State(step=step, total_steps=total, seconds=clock.seconds)
        rate = self.optimizer.param_groups[0]["lr"]
        history.add(
            {"step": step, "loss": round(loss, 5), "lr": rate, "seconds": round(clock.seconds, 2)}
        )
        dice = None
        if total and _is_due(step, total, self.options.validations):
            self.network.eval()
            dice = self.validate()
            history.add({"step": step, "seconds": round(clock.seconds, 2), "dice": dice})
        if clock.since_mark() > SECONDS_BETWEEN_CHECKPOINTS:
            save_checkpoint(self.checkpoint, self.network, self.optimizer.optimizer, self.state)
            clock.mark()
        progress(step, total or self._guess(step, clock), f"training, loss {loss:.3f}")
        return self.own.stop(TrainingEvent(step, total, clock.seconds, loss, dice))

    def _guess(self, step: int, clock: _Clock) -> int:
        """Total steps as far as one can tell before they are known."""
        return max(
            step + 1, int(step * (self.options.minutes or 1) * 60 / max(clock.seconds, 1e-3))
        )

    def _calibrate(self, step: int, clock: _Clock) -> int:
        """Total steps that fit in the minutes asked for; 0 while that is not known yet."""
        if self.options.minutes is None:
            return DEFAULT_STEPS
        first, last = CALIBRATION
        if step == first:
            clock.lap = clock.seconds
        seconds = self.options.minutes * 60
        slow = step > first and clock.seconds > CALIBRATION_SHARE * seconds
        if step < last and not slow:
            return 0
        seconds_per_step = (clock.seconds - clock.lap) / (step - first)
        left = seconds - clock.seconds
        return max(step + 1, step + int(left * TRAINING_SHARE / seconds_per_step))


class _Clock:
    """Seconds a run has been trained, over all its starts."""

    def __init__(self, before: float) -> None:
        self.start = time.monotonic() - before
        self.lap = 0.0
        self.mark()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def mark(self) -> None:
        self._marked = time.monotonic()

    def since_mark(self) -> float:
        return time.monotonic() - self._marked


def _is_due(step: int, total: int, times: int) -> bool:
    """Whether one of `times` evenly spread moments falls on this step; the last one is the end."""
    if times < 1:
        return False
    return step * times // total > (step - 1) * times // total
