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
    """

    def __init__(self, seconds, cuda):
        self.seconds, self.cuda = seconds, cuda
        self.ends, self.inside = [], []
        self.sampler = None

    def step(self, run):
        """Do one step, which `run` does, and note when it ended and how long it took itself."""
        start = time.perf_counter()
        result = run()
        self.ends.append(time.perf_counter())
        self.inside.append(self.ends[-1] - start)
        if self.cuda and len(self.ends) == WARM_UP:
            words = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "250")
            self.sampler = subprocess.Popen(
                ["nvidia-smi", *words], stdout=subprocess.PIPE, text=True
            )
        return result

    @property
    def is_over(self):
        """Whether enough was measured."""
        return len(self.ends) > WARM_UP + 2 and self.ends[-1] - self.ends[WARM_UP] > self.seconds

    def row(self, batch, patch):
        """The figures: steps and patches a second, and the share of the time the device waits."""
        lengths = [b - a for a, b in itertools.pairwise(self.ends[WARM_UP:])]
        whole = self.ends[-1] - self.ends[WARM_UP]
        waits = 1 - sum(self.inside[WARM_UP + 1 :]) / whole
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
