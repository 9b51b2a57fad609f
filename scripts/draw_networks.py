"""Draw every network of docs/concepts/networks.md from its code, as SVG.

    python scripts/draw_networks.py [--output docs/images/networks]

Each network is built as the planner would for a 64 x 64 picture and run once. A box is a part of
the network: as high as its map, as wide as its channels (both on a logarithmic scale). A line
says that one box reads what another gave; it is followed through PyTorch's autograd graph, so a
drawing cannot say more than the code does.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import msgspec
import torch
from torch import Tensor, nn

from medseg.networks import PACKAGE, suggestion
from medseg.networks.encoders.protocol import Encoder
from medseg.planning import Stages
from medseg.runtime import registry

DRAWN = ("fcn", "unet", "resenc_unet", "encoder_unet", "deeplab", "pspnet")
SIZE = 64
GAP, MIDDLE, FLOOR = 26, 175, 350
COLOURS = {
    "image": "#999999",
    "encoder": "#0072b2",
    "decoder": "#009e73",
    "pyramid": "#e69f00",
    "branches": "#e69f00",
    "head": "#d55e00",
    "heads": "#d55e00",
}
OTHER = "#56b4e9"


@dataclass
class Box:
    """One part of a network and what it gave."""

    name: str
    output: Tensor
    inputs: set[int] = field(default_factory=set)
    x: float = 0.0

    @property
    def width(self) -> float:
        """As channels: 8 is 12 wide, each doubling 5 more."""
        return 12 + 5 * max(math.log2(self.output.shape[1] / 8), 0)

    @property
    def height(self) -> float:
        """As the map: 64 voxels are 210 high."""
        return 14 + 196 * math.log2(self.output.shape[2] + 1) / math.log2(SIZE + 1)

    @property
    def colour(self) -> str:
        """By the part's first name."""
        return COLOURS.get(self.name.split(".")[0], OTHER)


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images/networks"))
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for name in DRAWN:
        target = folder / f"{name}.svg"
        target.write_text(svg(name, boxes_of(name)), encoding="utf-8")
        print(target)  # noqa: T201 - a script tells what it wrote


def boxes_of(name: str) -> list[Box]:
    """Run the network once and note its parts in the order in which they run."""
    stages = Stages(
        patch=(SIZE, SIZE),
        features=(32, 64, 128, 256, 256),
        strides=((1, 1), *((2, 2),) * 4),
        kernels=((3, 3),) * 5,
    )
    part = registry.load(PACKAGE, name)
    settings = msgspec.convert(suggestion(name)(stages).settings, part.Settings)
    network: nn.Module = part.build(settings, spatial_dims=2, in_channels=1, out_channels=3).eval()
    image = torch.zeros(1, 1, SIZE, SIZE, requires_grad=True) * 1
    boxes = [Box("image", image)]

    def note(label: str, output: Any) -> None:
        for number, tensor in enumerate(output if isinstance(output, list) else [output]):
            suffix = f".{number + 1}" if isinstance(output, list) else ""
            boxes.append(Box(label + suffix, tensor))

    for label, module in parts(network):
        module.register_forward_hook(lambda _m, _i, output, label=label: note(label, output))
    logits = network(image)
    if logits.grad_fn is not boxes[-1].output.grad_fn:
        boxes.append(Box("logits", logits))
    connect(boxes)
    place(boxes)
    return boxes


def parts(network: nn.Module, prefix: str = "", depth: int = 0) -> list[tuple[str, nn.Module]]:
    """Modules worth a box: encoders whole, members of lists, other children."""
    found = []
    for label, module in network.named_children():
        path = f"{prefix}{label}"
        inner = isinstance(module, nn.ModuleList | nn.ModuleDict) or label == "pyramid"
        if inner and not isinstance(module, Encoder) and depth < 3:
            found += parts(module, f"{path}.", depth + 1)
        elif any(True for _ in module.parameters()):
            found.append((path, module))
    return found


def connect(boxes: list[Box]) -> None:
    """Note for each box which others it reads, through autograd's graph."""
    givers = {box.output.grad_fn: number for number, box in enumerate(boxes)}
    for number, box in enumerate(boxes):
        seen, open_nodes = set(), [box.output.grad_fn]
        while open_nodes:
            node = open_nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            giver = givers.get(node)
            if giver is not None and giver != number:
                box.inputs.add(giver)
                continue
            open_nodes += [following for following, _ in node.next_functions]


def place(boxes: list[Box]) -> None:
    """From left to right in the order in which they run."""
    x = 20.0
    for box in boxes:
        box.x = x
        x += box.width + GAP


def svg(name: str, boxes: list[Box]) -> str:
    """The drawing."""
    width = boxes[-1].x + boxes[-1].width + 60
    height = FLOOR + 90
    size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="10">',
        f"<title>{escape(name)}</title>",
        f'<rect width="{width:.0f}" height="{height}" fill="white"/>',
    ]
    for number, box in enumerate(boxes):
        lines += [link(boxes[giver], box, number - giver) for giver in sorted(box.inputs)]
    lines += [drawn(box) for box in boxes]
    return "\n".join([*lines, "</svg>", ""])


def link(giver: Box, reader: Box, apart: int) -> str:
    """A line between neighbours, an arch over what lies between others."""
    x1, x2 = giver.x + giver.width, reader.x
    if apart == 1:
        return f'<path d="M{x1:.0f} {MIDDLE} H{x2:.0f}" stroke="#555" fill="none"/>'
    y1, y2 = MIDDLE - giver.height / 2, MIDDLE - reader.height / 2
    x1, x2 = giver.x + giver.width / 2, reader.x + reader.width / 2
    top = min(y1, y2) - 8 - 4.5 * apart
    return (
        f'<path d="M{x1:.0f} {y1:.0f} C{x1:.0f} {top:.0f} {x2:.0f} {top:.0f} {x2:.0f} {y2:.0f}"'
        ' stroke="#999" fill="none"/>'
    )


def drawn(box: Box) -> str:
    """The box and what it is."""
    top = MIDDLE - box.height / 2
    channels, size = box.output.shape[1], box.output.shape[2]
    x = box.x + box.width / 2
    words = escape(f"{box.name}  {channels} x {size}\u00b2")
    return (
        f'<rect x="{box.x:.0f}" y="{top:.0f}" width="{box.width:.0f}" height="{box.height:.0f}"'
        f' rx="2" fill="{box.colour}"/>'
        f'<text x="{x:.0f}" y="{FLOOR - 55}" transform="rotate(60 {x:.0f} {FLOOR - 55})">'
        f"{words}</text>"
    )


if __name__ == "__main__":
    main()
