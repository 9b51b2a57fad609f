"""Three ways to filter a dense CRF's bilateral kernel, against all pairs: error and seconds.

    python benchmarks/crf.py [--repeat 3]

On small scenes every way is compared with the sum over all pairs of voxels; then each is timed, in
seconds of one processor, on a patch of 40 x 56 x 40 voxels and on a picture of 512 x 512 x RGB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from medseg.postprocessing.crf import Kernel, MeanField, Settings, appearance_kernel

RESULTS = Path(__file__).with_name("results") / "crf.json"
Make = Callable[[Tensor, tuple[float, float, float], Settings], Kernel]
SMALL = {
    "2-D grey": ((48, 48, 1), 1, (1.0, 1.0, 1.0)),
    "2-D RGB": ((48, 48, 1), 3, (1.0, 1.0, 1.0)),
    "3-D": ((16, 16, 12), 1, (1.0, 1.0, 1.0)),
    "3-D, thick slices": ((20, 20, 6), 1, (0.7, 0.7, 3.0)),
}
LARGE = {"40 x 56 x 40": ((40, 56, 40), 1), "512 x 512 x RGB": ((512, 512, 1), 3)}
KERNELS = {
    "default": Settings(),
    "strong": Settings(
        appearance_weight=5.0,
        appearance_mm=8.0,
        intensity=0.3,
        smoothness_weight=2.0,
        smoothness_mm=1.5,
    ),
}
TOO_MANY_OFFSETS = 1500
TOO_MANY_CELLS = 3e7


def scene(shape: tuple[int, int, int], channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """A ball in a ball, its noisy image, and what a poor network says of it."""
    generator = torch.Generator().manual_seed(0)
    lines = [torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in shape]
    away = torch.stack(torch.meshgrid(*lines, indexing="ij")).norm(dim=0)
    truth = (away < 0.8).long() + (away < 0.45).long()
    image = truth + 0.3 * torch.randn(channels, *shape, generator=generator)
    logits = 1.5 * torch.nn.functional.one_hot(truth, 3).movedim(-1, 0)
    logits = logits + torch.randn(3, *shape, generator=generator)
    return truth, image, torch.softmax(logits, dim=0)


def all_pairs(image: Tensor, spacing: tuple[float, float, float], settings: Settings) -> Kernel:
    """The kernel as a matrix of all pairs, in float64."""
    shape = image.shape[1:]
    points = features(image, spacing, settings).flatten(1).T.double()
    matrix = torch.exp(-0.5 * torch.cdist(points, points) ** 2)
    ones = torch.ones(1, *shape)
    return Kernel.of(
        lambda v: (v.flatten(1).double() @ matrix).float().reshape(-1, *shape), ones, ones[0]
    )


def window(deviations: float) -> Make:
    """The kernel cut off at so many deviations in space, as in a convolutional CRF."""

    def make(image: Tensor, spacing: tuple[float, float, float], settings: Settings) -> Kernel:
        reach = [
            min(n - 1, ceil(deviations * settings.appearance_mm / mm))
            for n, mm in zip(image.shape[1:], spacing, strict=True)
        ]
        steps = [
            step
            for step in itertools.product(*(range(-r, r + 1) for r in reach))
            if step > (0, 0, 0)
        ]
        if len(steps) > TOO_MANY_OFFSETS and image[0].numel() > 10_000:
            raise MemoryError(f"{len(steps)} offsets")
        seen = features(image, spacing, settings)
        weights = []
        for step in steps:
            here, there = overlap(step)
            weights.append(torch.exp(-0.5 * (seen[here] - seen[there]).square().sum(0)))

        def filtered(values: Tensor) -> Tensor:
            total = values.clone()
            for step, weight in zip(steps, weights, strict=True):
                here, there = overlap(step)
                total[here] += weight * values[there]
                total[there] += weight * values[here]
            return total

        ones = torch.ones_like(image[:1])
        return Kernel.of(filtered, ones, ones[0])

    return make


def overlap(step: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Voxels that have a neighbour one step away, and those neighbours."""
    here = [slice(max(0, -s), -s if s > 0 else None) for s in step]
    there = [slice(max(0, s), s if s < 0 else None) for s in step]
    return (slice(None), *here), (slice(None), *there)


def bilateral_grid(
    image: Tensor, spacing: tuple[float, float, float], settings: Settings
) -> Kernel:
    """A regular grid over place and intensity, one cell a deviation, linear to and fro."""
    shape = image.shape[1:]
    points = features(image, spacing, settings).flatten(1)
    points = points[[len(set(row.tolist())) > 1 for row in points]]
    points = points - points.amin(1, keepdim=True) + 2
    sizes = [int(n) + 4 for n in points.amax(1)]
    cells = int(torch.tensor(sizes, dtype=torch.float64).prod())
    if cells > TOO_MANY_CELLS:
        raise MemoryError(f"{cells:.2g} cells")
    base, rest = points.floor().long(), points - points.floor()
    corners = []
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        index, share = torch.zeros_like(base[0]), torch.ones_like(rest[0])
        for axis, side in enumerate(corner):
            index = index * sizes[axis] + base[axis] + side
            share = share * (rest[axis] if side else 1 - rest[axis])
        corners.append((index, share))
    taps = torch.exp(-0.5 * torch.arange(-3.0, 4.0) ** 2 * 1.5)  # linear to and fro adds 1/3

    def filtered(values: Tensor) -> Tensor:
        grid = values.new_zeros((len(values), cells))
        for index, share in corners:
            grid.index_add_(1, index, values.flatten(1) * share)
        grid = grid.view(-1, *sizes)
        for axis, size in enumerate(sizes, start=1):
            padded = torch.nn.functional.pad(grid.transpose(axis, -1), (3, 3))
            summed = sum(tap * padded[..., n : n + size] for n, tap in enumerate(taps))
            grid = torch.as_tensor(summed).transpose(axis, -1)
        flat = grid.reshape(len(values), -1)
        total = torch.stack([flat[:, index] * share for index, share in corners]).sum(0)
        return total.view(-1, *shape)

    ones = torch.ones_like(image[:1])
    own = sum(share * share for _, share in corners)
    return Kernel.of(filtered, ones, torch.as_tensor(own).view(shape))


def features(image: Tensor, spacing: tuple[float, float, float], settings: Settings) -> Tensor:
    """Place and intensity in deviations; shape (3 + C, I, J, K)."""
    lines = [
        torch.arange(n) * (mm / settings.appearance_mm)
        for n, mm in zip(image.shape[1:], spacing, strict=True)
    ]
    return torch.cat(
        (torch.stack(torch.meshgrid(*lines, indexing="ij")), image / settings.intensity)
    )


WAYS: dict[str, Make] = {
    "permutohedral lattice (ours)": appearance_kernel,
    "window of 1 deviation": window(1.0),
    "window of 2 deviations": window(2.0),
    "bilateral grid": bilateral_grid,
}


def accuracy(make: Make, settings: Settings, case: str) -> dict[str, float]:
    """Error of one way against all pairs, on a small scene."""
    shape, channels, spacing = SMALL[case]
    truth, image, given = scene(shape, channels)
    exact = MeanField(settings, all_pairs)(given, image, spacing_mm=spacing)
    result = MeanField(settings, make)(given, image, spacing_mm=spacing)
    return {
        "mean_error": float((result - exact).abs().mean()),
        "largest_error": float((result - exact).abs().max()),
        "same_label": float((result.argmax(0) == exact.argmax(0)).float().mean()),
        "right_label": float((result.argmax(0) == truth).float().mean()),
        "right_label_all_pairs": float((exact.argmax(0) == truth).float().mean()),
    }


def seconds(make: Make, settings: Settings, case: str, repeat: int) -> float | str:
    """Median processor time of five updates on a large scene, or why there is none."""
    shape, channels = LARGE[case]
    _, image, given = scene(shape, channels)
    times = []
    for _ in range(repeat):
        start = time.process_time()
        try:
            MeanField(settings, make)(given, image, spacing_mm=(1.0, 1.0, 1.0))
        except MemoryError as error:
            return f"left out: {error}"
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    """Print the tables and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    torch.set_num_threads(1)
    rows = []
    for (kernel, settings), (way, make) in itertools.product(KERNELS.items(), WAYS.items()):
        row: dict[str, object] = {"kernel": kernel, "way": way}
        print(f"\n{kernel}, {way}")
        for case in SMALL:
            row[case] = result = accuracy(make, settings, case)
            print(
                f"  {case:18s} mean error {result['mean_error']:.4f}, same label"
                f" {result['same_label']:.4f}, right {result['right_label']:.4f}"
                f" (all pairs {result['right_label_all_pairs']:.4f})"
            )
        for case in LARGE:
            row[case] = taken = seconds(make, settings, case, repeat)
            print(f"  {case:18s} {taken if isinstance(taken, str) else f'{taken:.2f} s'}")
        rows.append(row)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
