"""Steps a second of nnU-Net's trainer with its own loader; run by nnU-Net's interpreter.

Arguments: dataset, configuration, fold, device, seconds, file for the figures.
"""

import json
import os
import sys
from pathlib import Path

import torch
from by_time import trainer_of
from step_times import StepTimes


def main():
    dataset, configuration, fold, device, seconds, output = sys.argv[1:]
    os.environ["BUDGET_SECONDS"] = seconds
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    trainer = trainer_of(dataset, configuration, fold, device)
    trainer.on_train_start()
    trainer.network.train()
    times = StepTimes(float(seconds), device == "cuda")
    while not times.is_over:
        batch = next(trainer.dataloader_train)
        times.step(lambda batch=batch: trainer.train_step(batch))
    row = times.row(trainer.batch_size, map(int, trainer.configuration_manager.patch_size))
    Path(output).write_text(json.dumps(row) + "\n")
    trainer.disable_checkpointing = True
    trainer.on_train_end()


if __name__ == "__main__":
    main()
