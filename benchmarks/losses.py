"""Time and memory of a loss with its gradient: ours, and MONAI's where it has the same one.

    python benchmarks/losses.py [--repeat 5] [--threads 1] [--others] [--output FOLDER]

The first table is Dice plus cross-entropy in both implementations, in turn. Times are the fastest
of `repeat`, in processor time, so that other work on the machine adds little; the last columns say
how far value and gradient lie apart. Memory is the peak of
the process above what it held before, taken in a process of its own. `--others` adds the time of
every loss on a training batch. Writes results/losses.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.losses import DiceCELoss
from torch import Tensor

from medseg.losses import dice_ce, names
from medseg.runtime import registry
from medseg.runtime.device import choose_device

HERE = Path(__file__).parent
CASES = {"training batch": (4, 3, (40, 56, 40)), "many classes": (1, 30, (96, 96, 96))}
Loss = Callable[[Tensor, Tensor], Tensor]


def monai() -> Loss:
    """The same loss by MONAI, which makes labels one-hot."""
    inner = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )
    return lambda logits_BLIJK, labels_BIJK: inner(logits_BLIJK, labels_BIJK[:, None])


def ours() -> Loss:
    """The default loss of medseg."""
    return dice_ce.build(dice_ce.Settings())


FORMS = {"MONAI": monai, "medseg": ours}


def batch(case: str, *, last: bool) -> tuple[Tensor, Tensor]:
    """Random logits and labels, the logits channels last if asked for."""
    patches, classes, size = CASES[case]
    torch.manual_seed(0)
    logits = torch.randn(patches, classes, *size)
    labels = torch.randint(0, classes, (patches, *size))
    return logits.to(memory_format=torch.channels_last_3d) if last else logits, labels


def step(loss: Loss, logits_BLIJK: Tensor, labels_BIJK: Tensor) -> tuple[float, Tensor, Tensor]:
    """CPU seconds of value and gradient, and both."""
    logits = logits_BLIJK.detach().requires_grad_()
    started = time.process_time()
    value = loss(logits, labels_BIJK)
    value.backward()
    gradient = logits.grad
    assert gradient is not None
    return time.process_time() - started, value.detach(), gradient


@functools.cache
def peak_mib(case: str, form: str) -> float:
    """Peak memory of one step above what was held before, in a process of its own."""
    command = [sys.executable, __file__, "--memory", case, form]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed)


def print_peak(case: str, form: str) -> None:
    """What the process for `peak_mib` does."""
    torch.set_num_threads(1)
    logits, labels = batch(case, last=False)
    loss = FORMS[form]()
    step(loss, torch.randn(1, 3, 8, 8, 8), torch.zeros(1, 8, 8, 8, dtype=torch.long))
    before = kib("VmRSS")
    step(loss, logits, labels)
    print((kib("VmHWM") - before) / 1024)


def kib(field: str) -> int:
    """Memory of this process: VmRSS is what it holds, VmHWM the most it ever held (Linux)."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def compare(case: str, *, last: bool, repeat: int) -> list[dict[str, object]]:
    """One row for each implementation."""
    logits, labels = batch(case, last=last)
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    results = {}
    for turn in range(repeat + 1):
        for form, build in FORMS.items():
            took, value, gradient = step(build(), logits, labels)
            results[form] = value, gradient
            seconds[form] += [took] if turn else []
    value, gradient = results["MONAI"]
    return [
        {
            "case": case,
            "layout": "channels last" if last else "contiguous",
            "loss": form,
            "cpu_ms": round(1000 * min(seconds[form]), 1),
            "peak_MiB": round(peak_mib(case, form)),
            "value_apart": abs(float(results[form][0] - value)),
            "gradient_apart": float(
                (results[form][1] - gradient).abs().max() / gradient.abs().max()
            ),
        }
        for form in FORMS
    ]


def every_loss(repeat: int) -> list[dict[str, object]]:
    """Time of every loss on a training batch whose labels are balls."""
    logits, labels = batch("training batch", last=True)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in labels.shape[1:]), indexing="ij")
    radius = torch.stack(axes).square().sum(0).sqrt()
    labels = ((radius < 0.7).long() + (radius < 0.4)).expand_as(labels)
    rows = []
    for name in names():
        part = registry.load("medseg.losses", name)
        loss = part.build(part.Settings())
        seconds = [step(loss, logits, labels)[0] for _ in range(repeat + 1)][1:]
        rows.append({"loss": name, "cpu_ms": round(1000 * min(seconds), 1)})
    return rows


def show(rows: list[dict[str, object]]) -> None:
    """Print rows as a table."""
    keys = list(rows[0])
    cells = [
        [f"{row[key]:.3g}" if "apart" in key else str(row[key]) for key in keys] for row in rows
    ]
    width = [max(len(line[n]) for line in [keys, *cells]) for n in range(len(keys))]
    for line in [keys, *cells]:
        print("  ".join(cell.ljust(wide) for cell, wide in zip(line, width, strict=True)))
    print()


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if arguments.memory:
        print_peak(*arguments.memory)
        return
    torch.set_num_threads(arguments.threads)
    rows = [
        row
        for case in CASES
        for last in (False, True)
        for row in compare(case, last=last, repeat=arguments.repeat)
    ]
    show(rows)
    others = every_loss(arguments.repeat) if arguments.others else []
    if others:
        show(others)
    about = {"device": choose_device("cpu").description, "threads": arguments.threads}
    stored = {**about, "torch": torch.__version__, "dice_ce": rows, "training_batch": others}
    (arguments.output / "losses.json").write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
