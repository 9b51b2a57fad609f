"""The loop: draw a batch, step the optimiser, remember, look at held-out cases now and then."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
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
from medseg.runtime.progress import Progress, tell
from medseg.training.budget import fitting
from medseg.training.cache import Prepared
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.clock import RunClock
from medseg.training.compilation import compile_where_faster, is_worth_a_trial
from medseg.training.distributed import ending_together, from_leader
from medseg.training.divergence import divergence_error, last_good
from medseg.training.gpu_memory import explain_lost_gpu, limit_memory, peak_sentence
from medseg.training.history import History, NoHistory
from medseg.training.loader import LoaderOptions, open_loader
from medseg.training.optimizer import build_optimizer
from medseg.training.options import TrainingOptions
from medseg.training.own_parts import OwnAugmentation, OwnParts, TrainingEvent
from medseg.training.recipe import DEFAULT_STEPS
from medseg.training.run_status import BEST, CHECKPOINT
from medseg.training.schedule import learning_rate
from medseg.training.state import State
from medseg.training.step import TrainingStep
from medseg.training.validation import Validation
from medseg.training.weight_average import WeightAverage
from medseg.volume.label_table import MEAN

SEEDS_APART = 1_000_003
"""Between two runs' seeds of what is random inside a network, one for each step."""
STEPS_BEFORE_COMPILING = 50
"""Steps after which it is known how long the rest takes."""
SEEDS_OF_RANKS = 500_009
"""Between two processes' seeds of the same step."""
SECONDS_BETWEEN_CHECKPOINTS = 30.0
STEPS_BETWEEN_LOOKS = 20
"""On a GPU, which goes on meanwhile; on a CPU each loss is looked at before its step is taken."""


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
    fabric : Fabric
        Precision, and the processes that share each batch.
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
    fabric: Fabric
    run: Path
    validation: Validation
    own: OwnParts = field(default_factory=OwnParts)
    seconds: float = 0.0
    state: State = field(init=False)

    def __post_init__(self) -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        kind = self.device.torch_device
        limit_memory(self.device, self.options.gpu_memory)
        self.leads = self.fabric.global_rank == 0
        self.recipe = self.options.recipe_on(kind.type)
        channels_last(self.network)
        optimizer = build_optimizer(self.network, self.recipe, fused=kind.type == "cuda")
        module, self.optimizer = self.fabric.setup(self.network, optimizer)
        self.step = TrainingStep(
            self.fabric,
            module,
            self.optimizer,
            build_loss(self.plan, given=self.own.loss),
            self.plan,
            self.recipe,
            self.device,
            self.options.gpu_memory,
        )
        decay = self.recipe.ema_decay
        self.average = WeightAverage(self.network, decay) if decay and self.leads else None
        self.state = State(step=0, total_steps=self.options.steps or 0, seconds=self.seconds)
        self.first_step = 0
        self.diverged = self.compiling_tried = False
        self.looks_every = 1 if kind.type == "cpu" else STEPS_BETWEEN_LOOKS
        self.unseen: list[tuple[dict[str, float], Tensor]] = []
        self.last_loss = math.nan

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.run / CHECKPOINT

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint.is_file():
            optimizer = self.optimizer.optimizer
            state = load_checkpoint(self.checkpoint, self.network, optimizer, self.average)
            total = max(state.total_steps, self.options.steps or 0)
            stale = 0 if state.ended else state.stale
            self.state = structs.replace(state, total_steps=total, stale=stale, ended=False)
            self.first_step = state.step

    def fit(self, cases: Sequence[Prepared], *, progress: Progress) -> None:
        """Train to the last step; the network then has the weights that are to be packed.

        Parameters
        ----------
        cases : sequence of Prepared
        progress : Progress
            Called after every step. Whatever it raises ends the run with a checkpoint.

        Raises
        ------
        InputError
            When no case holds a label.
        MedsegError
            When the loss becomes no number, the memory does not hold one patch, or the GPU fails.
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
        clock = RunClock(self.state.seconds)
        history = History(self.run, after=self.state.step) if self.leads else NoHistory()
        with explain_lost_gpu(self.device), ending_together(self.fabric), history:
            try:
                for image, labels in self._batches(cases):
                    self._learn(image, labels, clock, history, progress)
                    if self._agreed(stop=self._after_step(clock, history, progress)):
                        self.state = structs.replace(self.state, ended=True)
                        break
            finally:
                if not self.diverged:
                    self._save(clock, history)
        if self.average is not None:
            self.average.put()

    def _agreed(self, *, stop: bool) -> bool:
        """Whether to stop, and the steps in all, as the process says that leads."""
        total, stops = from_leader(self.fabric, self.state.total_steps, stop)
        self.state = structs.replace(self.state, total_steps=int(total))
        return bool(stops)

    def _save(self, clock: RunClock, history: History) -> None:
        """Write the checkpoint, once every loss before it was seen to be a number."""
        self._look(history)
        if self.leads:
            self._write(self.checkpoint)
        history.flush()
        clock.mark()

    def _write(self, checkpoint: Path) -> None:
        optimizer = self.optimizer.optimizer
        save_checkpoint(checkpoint, self.network, optimizer, self.state, self.average)

    def _batches(self, cases: Sequence[Prepared]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from the current step on."""
        own, state = self.own.augmentation, self.state
        augment = build_augmentation(self.plan) if own is None else OwnAugmentation(own, self.plan)
        steps = range(state.step, state.total_steps) if state.total_steps else count(state.step)
        how = LoaderOptions(rank=self.fabric.global_rank, world_size=self.fabric.world_size)
        options, device = self.options, self.device
        with open_loader(
            cases, self.plan, augment, options=options, device=device, steps=steps, how=how
        ) as batches:
            while self.state.total_steps == 0 or self.state.step < self.state.total_steps:
                yield next(batches)

    def _learn(
        self,
        image: Tensor,
        labels: Tensor,
        clock: RunClock,
        history: History,
        progress: Progress,
    ) -> None:
        """One optimiser step. Where nobody waits for the device, its loss is looked at later."""
        step = self.state.step
        total = self.state.total_steps or DEFAULT_STEPS
        rate = learning_rate(step, total, self.options.peak_rate, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        gradients = functools.partial(
            self.step.gradients,
            image,
            labels,
            seed=self.options.seed * SEEDS_APART + step + SEEDS_OF_RANKS * self.fabric.global_rank,
            tell=functools.partial(tell, progress),
        )
        if self._is_time_to_compile(clock):
            compile_where_faster(self.step, gradients, tell=functools.partial(tell, progress))
        loss_and_norm = gradients()
        record = {"step": step + 1, "lr": rate, "seconds": round(clock.seconds, 2)}
        self.unseen.append((record, loss_and_norm))
        if self.looks_every == 1:
            self._look(history)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(step)

    def _is_time_to_compile(self, clock: RunClock) -> bool:
        """Once, when the speed of the first steps is known, if the steps that are left are many."""
        done, total = self.state.step - self.first_step, self.state.total_steps
        if done < STEPS_BEFORE_COMPILING or not total or self.compiling_tried:
            return False
        self.compiling_tried = True
        per_step = clock.since_start() / done
        return is_worth_a_trial(self.step, (total - self.state.step) * per_step)

    def _look(self, history: History) -> None:
        """Read the losses of the steps since the last look, and write them down.

        Raises
        ------
        MedsegError
            When one, or a gradient, is no number.
        """
        if not self.unseen:
            return
        records, values = zip(*self.unseen, strict=True)
        self.unseen.clear()
        scaled = self.device.half is torch.float16  # the scaler leaves such a step out by itself
        for record, (loss, norm) in zip(records, torch.stack(values).tolist(), strict=True):
            if not math.isfinite(loss):
                raise self._divergence(f"became {loss}", record)
            if not scaled and not math.isfinite(norm):
                raise self._divergence(f"gave a gradient of {norm}", record)
            self.last_loss = loss
            history.add({**record, "loss": round(loss, 5)})

    def _divergence(self, what: str, record: dict[str, float]) -> MedsegError:
        """The error of a step that no optimiser should take; no checkpoint is written after it."""
        self.diverged = True
        if not self.leads:
            raise SystemExit(1)  # the process that leads sees the same loss, and says so
        failed = int(record["step"])
        kept = last_good(self.run, self.state, started=self.first_step, failed=failed - 1)
        return divergence_error(
            what,
            loss=self.plan.loss.name,
            step=failed,
            rate=record["lr"],
            peak=self.options.peak_rate,
            standard=self.recipe.learning_rate,
            kept=kept,
        )

    def _after_step(self, clock: RunClock, history: History, progress: Progress) -> bool:
        """Count, record, validate and save as the step asks for; whether to stop."""
        step = self.state.step + 1
        self.state = structs.replace(self.state, step=step, seconds=clock.seconds)
        if not self.state.total_steps or self.own.callbacks or step % self.looks_every == 0:
            self._look(history)
        if not self.leads:
            return False
        if step == self.first_step + 1:
            peak = peak_sentence(self.device, self.step.at_once, self.options.gpu_memory)
            if peak:
                tell(progress, peak)
        if not self.state.total_steps:
            self._set_length(clock)
        total, validations = self.state.total_steps, self.state.validations
        times = self.options.validations if validations is None else validations
        due = bool(total and self.validation.cases) and _is_due(step, total, times)
        dice = self._validate(clock, history) if due else None
        if clock.since_mark() > SECONDS_BETWEEN_CHECKPOINTS:
            self._save(clock, history)
        loss = self.last_loss
        progress(step, total or self._guess(step, clock), f"training, loss {loss:.3f}")
        asked = self.own.stop(TrainingEvent(step, total, clock.seconds, loss, dice))
        return asked or 0 < (self.options.early_stop or 0) <= self.state.stale

    def _validate(self, clock: RunClock, history: History) -> dict[str, float]:
        """Look at held-out cases; the best network so far is kept."""
        self._look(history)
        self.network.eval()
        with nullcontext() if self.average is None else self.average.in_network():
            dice = self.validation.on_the_way()
        self.state = structs.replace(self.state, seconds=clock.seconds)
        history.add({"step": self.state.step, "seconds": round(clock.seconds, 2), "dice": dice})
        if MEAN in dice:
            self.state = self.state.compared(dice[MEAN])
            if self.state.best_step == self.state.step:
                self._write(self.run / BEST)
                self._save(clock, history)
        return dice

    def _guess(self, step: int, clock: RunClock) -> int:
        """Total steps as far as one can tell before they are known."""
        return max(
            step + 1, int(step * (self.options.minutes or 1) * 60 / max(clock.seconds, 1e-3))
        )

    def _set_length(self, clock: RunClock) -> None:
        """Say how many steps there will be, once that is known: as many as fit in the minutes."""
        if self.options.minutes is None:
            self.state = structs.replace(self.state, total_steps=DEFAULT_STEPS)
            return
        step, whole = self.state.step, self.options.minutes * 60
        per_step = clock.timer(whole).seconds_per_step(step, clock.seconds)
        if per_step is None:
            return
        asked = self.options.validations
        self.network.eval()
        per_validation, at_the_end = self.validation.costs(lambda: clock.seconds)
        if self.options.postprocess:
            at_the_end *= 2  # steps are chosen on what is predicted once more
        steps, validations = fitting(
            whole - clock.seconds,
            per_step=per_step,
            per_validation=per_validation,
            validations=max(asked - 1, 0),
            final=at_the_end + (per_validation if asked else 0.0),
        )
        self.state = structs.replace(
            self.state,
            total_steps=step + steps,
            validations=min(validations + 1, asked),
            seconds=clock.seconds,
        )


def _is_due(step: int, total: int, times: int) -> bool:
    """Whether one of `times` evenly spread moments falls on this step; the last one is the end."""
    if times < 1:
        return False
    return step * times // total > (step - 1) * times // total
