"""What dilation costs a 3-D convolution on a CPU: against a dense one, and cut into phases.

    python benchmarks/dilation.py

A dilated convolution is a dense one on every d-th voxel, so a map cut into d x d x d interleaved
maps (phases) gives the same numbers by a dense convolution. Prints milliseconds of a forward pass
and of a step (forward and backward), bfloat16, channels last, the fastest of five.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

CASES = ((96, (11, 15, 11), 2), (192, (11, 15, 11), 4), (64, (11, 15, 11), 3))
"""Channels, voxels and dilation, as DeepLab's on the hippocampus."""
BATCH = 4


def main() -> None:
    """Print the table."""
    print("channels  dilation  form     forward, ms  step, ms  difference")
    for channels, size, dilation in CASES:
        image = torch.randn(BATCH, channels, *size).bfloat16()
        image = image.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        dense = conv(channels, 1)
        dilated = conv(channels, dilation)
        forms: dict[str, Callable[[], Tensor]] = {
            "dense": lambda dense=dense, image=image: dense(image),
            "dilated": lambda dilated=dilated, image=image: dilated(image),
            "phases": lambda d=dilation, dilated=dilated, image=image: phases(image, dilated, d),
        }
        with torch.no_grad():
            apart = (forms["dilated"]() - forms["phases"]()).abs().max().item()
        for name, form in forms.items():
            told = f"{apart:.1e}" if name == "phases" else ""
            times = f"{milliseconds(form):11.1f}  {milliseconds(step_of(form)):8.1f}"
            print(f"{channels:8d}  {dilation:8d}  {name:7}  {times}  {told}")


def conv(channels: int, dilation: int) -> nn.Conv3d:
    """A 3-wide convolution in bfloat16, channels last."""
    made = nn.Conv3d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    return made.to(torch.bfloat16).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def phases(x_BCIJK: Tensor, dilated: nn.Conv3d, d: int) -> Tensor:
    """The dilated convolution by a dense one on interleaved maps."""
    batch, channels, *size = x_BCIJK.shape
    pads = [(-n) % d for n in size]
    x = nn.functional.pad(x_BCIJK, [0, pads[2], 0, pads[1], 0, pads[0]])
    i, j, k = (n // d for n in x.shape[2:])
    x = x.view(batch, channels, i, d, j, d, k, d).permute(0, 3, 5, 7, 1, 2, 4, 6)
    x = x.reshape(batch * d**3, channels, i, j, k)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    x = nn.functional.conv3d(x, dilated.weight, padding=1)
    x = x.view(batch, d, d, d, channels, i, j, k).permute(0, 4, 5, 1, 6, 2, 7, 3)
    x = x.reshape(batch, channels, i * d, j * d, k * d)
    return x[:, :, : size[0], : size[1], : size[2]]


def step_of(form: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward and backward."""
    return lambda: form().float().sum().backward()


def milliseconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The fastest of some runs, after one to warm up."""
    run()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


if __name__ == "__main__":
    main()
