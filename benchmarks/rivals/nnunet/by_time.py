"""A trainer of nnU-Net whose schedule spans a budget of time, of the wall's clock or its own.

Runs in nnU-Net's own interpreter, which has no medseg. Network, loss, optimiser, augmentation and
batch are nnU-Net's. Its polynomial schedule is followed by the share of the budget that has passed,
epochs are short so that it can stop in time, and the time that belongs to no iteration (plots,
pseudo Dice) is kept small.
"""

import json
import os
import time
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class TrainerByTime(nnUNetTrainer):
    """Trains for `BUDGET_SECONDS` of `BUDGET_CLOCK`, which count from the first iteration."""

    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.budget = float(os.environ["BUDGET_SECONDS"])
        own = os.environ.get("BUDGET_CLOCK") == "processor"
        self.now = time.process_time if own else time.monotonic
        self.num_val_iterations_per_epoch = 1
        self.num_epochs = 100_000
        self.save_every = 100_000
        self.iterations = 0

    def plot_network_architecture(self):
        """No PDF of the network."""

    def run_training(self):
        """As nnU-Net's, until the time is over; its epochs hold what fits into a 50th of it."""
        self.on_train_start()
        self.logger.plot_progress_png = lambda *_: None
        with torch.no_grad():
            self.validation_step(next(self.dataloader_val))
        start = self.now()
        while (passed := self.now() - start) < self.budget:
            self.on_epoch_start()
            self.on_train_epoch_start()
            outputs = []
            until = min(passed + self.budget / 50, self.budget)
            while not outputs or (passed := self.now() - start) < until:
                rate = self.initial_lr * max(1 - passed / self.budget, 0.0) ** 0.9
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                outputs.append(self.train_step(next(self.dataloader_train)))
            self.iterations += len(outputs)
            self.on_train_epoch_end(outputs)
            with torch.no_grad():
                self.on_validation_epoch_start()
                self.on_validation_epoch_end([self.validation_step(next(self.dataloader_val))])
            self.on_epoch_end()
        self.seconds = self.now() - start
        self.on_train_end()


def trainer_of(dataset, configuration, fold, device):
    """The trainer of a preprocessed dataset, made as `nnUNetv2_train` makes one."""
    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset  # noqa: SIM112 - as nnU-Net spells it
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["continue_training"] = False
    about = json.loads((folder / "dataset.json").read_text())
    return TrainerByTime(plans, configuration, int(fold), about, torch.device(device))
