"""Seconds of training steps, and how busy the device is; needs nothing but Python."""

import itertools
import statistics
import subprocess
import time

WARM_UP = 5
"""Steps that do not count: they compile, choose kernels and fill queues."""


class StepTimes:
    """Clocks steps until the time is over, or there are enough of them.

    Parameters
    ----------
    seconds : float
        To measure for, after the steps that warm up.
    cuda : bool
        Whether the device is a GPU, whose use `nvidia-smi` then tells.
    warm_up : int
        Steps that do not count.
    """

    def __init__(self, seconds, cuda, warm_up=WARM_UP):
        self.seconds, self.cuda, self.warm_up = seconds, cuda, warm_up
        self.ends, self.inside = [], []
        self.sampler = None

    def step(self, run):
        """Do one step, which `run` does, and note when it ended and how long it took itself."""
        start = time.perf_counter()
        result = run()
        self.ends.append(time.perf_counter())
        self.inside.append(self.ends[-1] - start)
        if self.cuda and len(self.ends) == self.warm_up:
            words = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "250")
            self.sampler = subprocess.Popen(
                ["nvidia-smi", *words], stdout=subprocess.PIPE, text=True
            )
        return result

    @property
    def is_over(self):
        """Whether enough was measured."""
        return (
            len(self.ends) > self.warm_up + 2
            and self.ends[-1] - self.ends[self.warm_up] > self.seconds
        )

    def row(self, batch, patch):
        """The figures: steps and patches a second, and the share of the time the device waits."""
        lengths = [b - a for a, b in itertools.pairwise(self.ends[self.warm_up :])]
        whole = self.ends[-1] - self.ends[self.warm_up]
        waits = 1 - sum(self.inside[self.warm_up + 1 :]) / whole
        if self.sampler:
            self.sampler.terminate()
            busy = [float(line) for line in self.sampler.communicate()[0].split() if line.isdigit()]
            waits = 1 - statistics.mean(busy) / 100
        return {
            "steps": len(lengths),
            "step_s": statistics.median(lengths),
            "patches_s": batch * len(lengths) / whole,
            "waits": waits,
            "batch": batch,
            "patch": list(patch),
        }
