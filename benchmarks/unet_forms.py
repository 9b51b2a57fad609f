"""Seconds of a training step and of a tile for the forms a 3-D U-Net can take on a CPU.

    python benchmarks/unet_forms.py [--batch 4] [--repeat 3]

Forms are timed in turn, `repeat` times, and the medians are compared; read the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from medseg.networks.blocks.instance_norm import InstanceNorm
from medseg.networks.unet import Settings, build
from medseg.runtime.device import choose_device

PATCH = (40, 56, 40)


class NativeGroupNorm(nn.GroupNorm):
    """`GroupNorm` with one channel a group and PyTorch's own backward pass."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)


def main() -> None:
    """Time every form in turn and print ratios to eager float32 with InstanceNorm3d."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(choose_device("cpu").description)
    forms = {
        "InstanceNorm3d, float32, contiguous": (
            lambda n: nn.InstanceNorm3d(n, affine=True),
            False,
            False,
        ),
        "GroupNorm, float32, channels last": (NativeGroupNorm, False, True),
        "GroupNorm, bfloat16, channels last": (NativeGroupNorm, True, True),
        "ours, float32, channels last": (InstanceNorm, False, True),
        "ours, bfloat16, channels last": (InstanceNorm, True, True),
    }
    networks = {
        name: (network(norm, last), half, last) for name, (norm, half, last) in forms.items()
    }
    train: dict[str, list[float]] = {name: [] for name in forms}
    infer: dict[str, list[float]] = {name: [] for name in forms}
    for repeat in range(arguments.repeat + 1):
        for name, (net, half, last) in networks.items():
            seconds = step(net, half, last, arguments.batch), tile(net, half, last)
            if repeat:
                train[name].append(seconds[0])
                infer[name].append(seconds[1])
    base = next(iter(forms))
    print(f"{'form':38s} step s  ratio   tile s  ratio")
    for name in forms:
        training, inference = statistics.median(train[name]), statistics.median(infer[name])
        faster_training = statistics.median(train[base]) / training
        faster_inference = statistics.median(infer[base]) / inference
        print(
            f"{name:38s} {training:6.3f} {faster_training:6.2f}"
            f"  {inference:7.4f} {faster_inference:6.2f}"
        )


def network(norm: object, last: bool) -> nn.Module:
    """A U-Net 32-64-128-256 whose norms are made by `norm`."""
    net = build(Settings(), spatial_dims=3, in_channels=1, out_channels=3)
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, norm(child.num_channels))  # type: ignore[operator]
    return net.to(memory_format=torch.channels_last_3d) if last else net  # type: ignore[call-overload]


def step(net: nn.Module, half: bool, last: bool, batch: int) -> float:
    """Seconds of forward and backward on one batch."""
    net.train()
    image = torch.randn(batch, 1, *PATCH)
    labels = torch.randint(0, 3, (batch, *PATCH))
    if last:
        image = image.to(memory_format=torch.channels_last_3d)
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = net(image)
    losses = [nn.functional.cross_entropy(logits[0].float(), labels)]
    losses += [level.float().square().mean() for level in logits[1:]]
    torch.stack(losses).sum().backward()
    return time.perf_counter() - started


@torch.inference_mode()
def tile(net: nn.Module, half: bool, last: bool) -> float:
    """Seconds of one tile."""
    net.eval()
    image = torch.randn(1, 1, *PATCH)
    if last:
        image = image.to(memory_format=torch.channels_last_3d)
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        net(image)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
