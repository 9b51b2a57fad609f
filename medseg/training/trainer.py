"""The loop: draw a batch, step the optimiser, remember, look at held-out cases now and then."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
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
from medseg.training.budget import StepTimer, fitting
from medseg.training.cache import Prepared
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.history import History
from medseg.training.options import TrainingOptions
from medseg.training.own_parts import OwnAugmentation, OwnParts, TrainingEvent
from medseg.training.run_status import BEST, CHECKPOINT
from medseg.training.sampling import draw_batch
from medseg.training.schedule import learning_rate
from medseg.training.state import State, read_state
from medseg.training.validation import Validation
from medseg.volume.label_table import MEAN

DEFAULT_STEPS = 2_000
SEEDS_APART = 1_000_003
"""Between two runs' seeds of what is random inside a network, one for each step."""
SECONDS_BETWEEN_CHECKPOINTS = 30.0
LOWER = 4
"""By how much the learning rate is lowered that is advised after a loss that is no number."""


@dataclass
class Trainer:
    """A run in memory.

    Parameters
    ----------
    network : torch.nn.Module
        To be trained, in place.
    plan : Plan
    options : TrainingOptions
        Steps or minutes, learning rate, seed, validations.
    device : Device
    run : Path
        Folder for checkpoint and history.
    validation : Validation
        Held-out cases, measured on the way with `network` in evaluation mode.
    own : OwnParts
        Loss, augmentation and callbacks of Python.
    seconds : float
        Of the run before the first step that count as training.
    """

    network: nn.Module
    plan: Plan
    options: TrainingOptions
    device: Device
    run: Path
    validation: Validation
    own: OwnParts = field(default_factory=OwnParts)
    seconds: float = 0.0
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
        self.state = State(step=0, total_steps=self.options.steps or 0, seconds=self.seconds)
        self.first_step = 0
        self.diverged = False

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.run / CHECKPOINT

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint.is_file():
            state = load_checkpoint(self.checkpoint, self.network, self.optimizer.optimizer)
            total = max(state.total_steps, self.options.steps or 0)
            stale = 0 if state.ended else state.stale
            self.state = structs.replace(state, total_steps=total, stale=stale, ended=False)
            self.first_step = state.step

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
        peak = self.options.peak_rate
        if not self.state.rates or self.state.rates[-1][1] != peak:
            rates = (*self.state.rates, (self.state.step, peak))
            self.state = structs.replace(self.state, rates=rates)
        clock = _Clock(self.state.seconds)
        with History(self.run, after=self.state.step) as history:
            try:
                for image, labels in self._batches(cases):
                    loss = self._step(image, labels)
                    if self._after_step(loss, clock, history, progress):
                        self.state = structs.replace(self.state, ended=True)
                        break
            finally:
                if not self.diverged:
                    self._save(clock, history)

    def _save(self, clock: _Clock, history: History) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.checkpoint, self.network, self.optimizer.optimizer, self.state)
        history.flush()
        clock.mark()

    def _batches(self, cases: Sequence[Prepared]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from the current step on, each drawn while the one before is learnt."""
        own = self.own.augmentation
        augment = build_augmentation(self.plan) if own is None else OwnAugmentation(own, self.plan)

        def draw(step: int) -> tuple[Tensor, Tensor]:
            return draw_batch(cases, self.plan, augment, options=self.options, step=step)

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
            raise self._not_finite(f"gave a gradient of {norm.item()}")
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
            raise self._not_finite(f"became {total.item()}")
        return total

    def _not_finite(self, what: str) -> MedsegError:
        """The error of a step that no optimiser should take."""
        self.diverged = True
        step, rate = self.state.step + 1, self.options.peak_rate
        kept = self._last_good()
        advice = (
            "start another run"
            if kept is None
            else f"the first {kept} steps are kept: go on from there with --resume and"
        )
        if kept is None:
            advice += " with"
        return MedsegError(
            f"the loss '{self.plan.loss.name}' {what} at step {step}, where the learning rate was"
            f" {self.optimizer.param_groups[0]['lr']:.3g}; {advice} a --learning-rate below"
            f" {rate:g}, such as {rate / LOWER:.2g}, or check the scans for extreme intensities and"
            " the plan's normalisation",
            code="DIVERGED",
        )

    def _last_good(self) -> int | None:
        """Steps of the checkpoint to go on from; None when there is none that led elsewhere.

        One that this start went on from and that failed at once is no good: the best one takes its
        place, if that is older.
        """
        if not self.checkpoint.is_file():
            return None
        if self.first_step and self.state.step == self.first_step:
            if not 0 < self.state.best_step < self.state.step:
                return None
            shutil.copyfile(self.run / BEST, self.checkpoint)
        state = read_state(self.checkpoint)
        return state.step if state else None

    def _after_step(self, loss: float, clock: _Clock, history: History, progress: Progress) -> bool:
        """Count, record, validate and save as the step asks for; whether to stop."""
        step = self.state.step + 1
        self.state = structs.replace(self.state, step=step, seconds=clock.seconds)
        rate = self.optimizer.param_groups[0]["lr"]
        history.add(
            {"step": step, "loss": round(loss, 5), "lr": rate, "seconds": round(clock.seconds, 2)}
        )
        if not self.state.total_steps:
            self._set_length(clock)
        total, validations = self.state.total_steps, self.state.validations
        times = self.options.validations if validations is None else validations
        due = bool(total and self.validation.cases) and _is_due(step, total, times)
        dice = self._validate(clock, history) if due else None
        if clock.since_mark() > SECONDS_BETWEEN_CHECKPOINTS:
            self._save(clock, history)
        progress(step, total or self._guess(step, clock), f"training, loss {loss:.3f}")
        asked = self.own.stop(TrainingEvent(step, total, clock.seconds, loss, dice))
        return asked or 0 < (self.options.early_stop or 0) <= self.state.stale

    def _validate(self, clock: _Clock, history: History) -> dict[str, float]:
        """Look at held-out cases; the best network so far is kept."""
        self.network.eval()
        dice = self.validation.on_the_way()
        self.state = structs.replace(self.state, seconds=clock.seconds)
        history.add({"step": self.state.step, "seconds": round(clock.seconds, 2), "dice": dice})
        if MEAN in dice:
            self.state = self.state.compared(dice[MEAN])
            if self.state.best_step == self.state.step:
                best = self.run / BEST
                save_checkpoint(best, self.network, self.optimizer.optimizer, self.state)
                self._save(clock, history)
        return dice

    def _guess(self, step: int, clock: _Clock) -> int:
        """Total steps as far as one can tell before they are known."""
        return max(
            step + 1, int(step * (self.options.minutes or 1) * 60 / max(clock.seconds, 1e-3))
        )

    def _set_length(self, clock: _Clock) -> None:
        """Say how many steps there will be, once that is known: as many as fit in the minutes."""
        if self.options.minutes is None:
            self.state = structs.replace(self.state, total_steps=DEFAULT_STEPS)
            return
        step, whole = self.state.step, self.options.minutes * 60
        per_step = clock.timer(whole).seconds_per_step(step, clock.seconds)
        if per_step is None:
            return
        asked, (on_the_way, final) = self.options.validations, self.validation.costs
        per_case = 0.0
        if asked and self.validation.cases:
            start = clock.seconds
            self.network.eval()
            self.validation.of_one()
            per_case = clock.seconds - start
        steps, validations = fitting(
            whole - clock.seconds,
            per_step=per_step,
            per_validation=on_the_way * per_case,
            validations=max(asked - 1, 0),
            final=final * per_case,
        )
        self.state = structs.replace(
            self.state,
            total_steps=step + steps,
            validations=min(validations + 1, asked),
            seconds=clock.seconds,
        )


class _Clock:
    """Seconds a run has been trained, over all its starts."""

    def __init__(self, before: float) -> None:
        self.start = time.monotonic() - before
        self._timer: StepTimer | None = None
        self.mark()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def timer(self, whole: float) -> StepTimer:
        """The speed of the first steps of a run that lasts `whole` seconds."""
        self._timer = self._timer or StepTimer(whole)
        return self._timer

    def mark(self) -> None:
        self._marked = time.monotonic()

    def since_mark(self) -> float:
        return time.monotonic() - self._marked


def _is_due(step: int, total: int, times: int) -> bool:
    """Whether one of `times` evenly spread moments falls on this step; the last one is the end."""
    if times < 1:
        return False
    return step * times // total > (step - 1) * times // total
