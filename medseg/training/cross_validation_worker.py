"""The process of one fold on one device: ``python -m`` this, with run, device and dataset."""

from __future__ import annotations

import os
import sys

from medseg.errors import Cancelled, MedsegError
from medseg.training.options import TrainingOptions
from medseg.training.run import train


def main(folder: str, device: str, dataset: str) -> None:
    """Go on with a fold's run; end with it when the process that started this one is gone."""
    parent = os.getppid()

    def progress(done: int, total: int, message: str, /) -> None:
        if os.getppid() != parent:
            raise Cancelled(f"after '{message}', {done} of {total}, nobody waits for this fold")

    try:
        train(
            dataset,
            folder,
            resume=True,
            options=TrainingOptions(device=device),
            progress=progress,
        )
    except MedsegError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
