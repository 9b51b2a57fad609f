"""LinkNet in 3-D, as deepbet has it: a residual encoder whose stages are added to the decoder's.

A. Chaurasia and E. Culurciello, "LinkNet: Exploiting encoder representations for efficient semantic
segmentation", VCIP 2017; widths and heads as in L. Fisch et al., Comput Biol Med 179:108845, 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTHS = (16, 32, 64, 128)


class LinkNet3d(nn.Module):
    """From ``image_BCIJK`` of one channel to the logits of two classes, of the same size.

    Sizes must be multiples of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        first, head = _WIDTHS[0], _WIDTHS[0] // 2
        self.init = nn.Sequential(
            *_unit(nn.Conv3d(1, first, 7, 2, 3, bias=False)), nn.MaxPool3d(3, 2, 1)
        )
        before = first
        for stage, width in enumerate(_WIDTHS):
            setattr(self, f"down{stage}", _Down(before, width, stride=1 if stage == 0 else 2))
            before = width
        for stage, width in enumerate(reversed((first, *_WIDTHS[:-1]))):
            setattr(self, f"up{stage}", _Up(before, width, stride=1 if stage == 3 else 2))
            before = width
        self.tp_conv1 = nn.Sequential(*_unit(nn.ConvTranspose3d(first, head, 3, 2, 1, 1)))
        self.conv = nn.Sequential(*_unit(nn.Conv3d(head, head, 3, padding=1)))
        self.tp_conv2 = nn.ConvTranspose3d(head, 2, 2, 2)

    def forward(self, image_BCIJK: Tensor) -> Tensor:
        kept = [self.init(image_BCIJK)]
        for stage in range(4):
            kept.append(self.get_submodule(f"down{stage}")(kept[-1]))
        up_BCIJK = kept.pop()
        for stage in range(4):
            skipped = kept.pop() if stage < 3 else kept[0]
            up_BCIJK = self.get_submodule(f"up{stage}")(up_BCIJK) + skipped
        logits: Tensor = self.tp_conv2(self.conv(self.tp_conv1(up_BCIJK)))
        return logits


class TwoLooks(nn.Module):
    """Two networks: `box` finds where to look, `whole` looks there; one logit for each voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.box = LinkNet3d()
        self.whole = LinkNet3d()

    def forward(self, image_BCIJK: Tensor) -> Tensor:
        return one_logit(self.whole(image_BCIJK))


def one_logit(logits_BLIJK: Tensor) -> Tensor:
    """Of two classes, the logit whose sigmoid is the softmax of the second; shape (B, 1, ...)."""
    return logits_BLIJK[:, 1:] - logits_BLIJK[:, :1]


def _unit(conv: nn.Conv3d | nn.ConvTranspose3d) -> tuple[nn.Module, nn.Module, nn.Module]:
    return conv, nn.InstanceNorm3d(conv.out_channels), nn.ReLU()


class _Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            *_unit(nn.Conv3d(before, width, 3, stride, 1, bias=False)),
            *_unit(nn.Conv3d(width, width, 3, padding=1, bias=False))[:2],
        )
        if stride > 1:
            shorter = nn.Conv3d(before, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(*_unit(shorter)[:2])

    def forward(self, image_BCIJK: Tensor) -> Tensor:
        skipped = self.downsample(image_BCIJK) if hasattr(self, "downsample") else image_BCIJK
        return torch.relu(self.double_conv(image_BCIJK) + skipped)


class _Down(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.block1 = _Block(before, width, stride)
        self.block2 = _Block(width, width, 1)

    def forward(self, image_BCIJK: Tensor) -> Tensor:
        result: Tensor = self.block2(self.block1(image_BCIJK))
        return result


class _Up(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        quarter = before // 4
        self.conv1 = nn.Sequential(*_unit(nn.Conv3d(before, quarter, 1, bias=False)))
        wider = nn.ConvTranspose3d(quarter, quarter, 3, stride, 1, stride - 1, bias=False)
        self.tp_conv = nn.Sequential(*_unit(wider))
        self.conv2 = nn.Sequential(*_unit(nn.Conv3d(quarter, width, 1, bias=False)))

    def forward(self, image_BCIJK: Tensor) -> Tensor:
        result: Tensor = self.conv2(self.tp_conv(self.conv1(image_BCIJK)))
        return result
