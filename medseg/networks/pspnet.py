"""PSPNet: a dilated encoder under averages over ever smaller parts of the map.

Zhao et al., Pyramid scene parsing network (CVPR 2017).
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.networks.blocks.atrous import atrous_block, pool_to
from medseg.networks.blocks.factory import ConvFactory
from medseg.networks.blocks.layers import crop, initialise, pad_to_nodes, pointwise, upsample
from medseg.networks.blocks.planned_encoder import map_size, planned_encoder
from medseg.networks.encoders import EncoderSettings, build_encoder, plan_layout
from medseg.networks.encoders.protocol import Encoder
from medseg.planning.stages import Axes, Stages

PUBLISHED_BINS = (1, 2, 3, 6)
AUXILIARY_LEVEL = 3


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    encoder : EncoderSettings
        Which encoder, how wide, where it strides and from which output stride on it dilates.
    bins : tuple of int
        Cells along each axis that each branch of the pyramid averages over. Along an axis with
        fewer voxels than cells, every voxel is its own cell.
    features : int
    auxiliary_features : int
        Channels of the auxiliary head on the fourth level while training; 0 leaves it out.
    dropout : float
    """

    encoder: EncoderSettings = EncoderSettings(output_stride=8)
    bins: tuple[int, ...] = PUBLISHED_BINS
    features: int = 512
    auxiliary_features: int = 256
    dropout: float = 0.1


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> PSPNet:
    """Make the network; see :class:`PSPNet`.

    Raises
    ------
    PlanError
        When the encoder, the bins or a width is impossible.
    """
    if not settings.bins or min(settings.bins) < 1:
        raise PlanError(f"bins must be one or more numbers from 1 up, got {settings.bins}")
    if settings.features < 1 or settings.auxiliary_features < 0:
        raise PlanError(
            f"features must be positive and auxiliary_features 0 or more, got"
            f" {settings.features} and {settings.auxiliary_features}"
        )
    if not 0 <= settings.dropout < 1:
        raise PlanError(f"dropout must lie in 0..1 (1 excluded), got {settings.dropout:g}")
    encoder = build_encoder(settings.encoder, spatial_dims=spatial_dims, in_channels=in_channels)
    return PSPNet(encoder, settings, out_channels)


def suggest(stages: Stages) -> Settings:
    """Over a ResNet-18 of the budget's width; only bins that the patch's map can fill."""
    encoder = planned_encoder(stages, dilate=True)
    reduction = plan_layout(encoder, spatial_dims=stages.spatial_dims).reductions[-1]
    longest = max(map_size(stages.patch, reduction))
    return Settings(
        encoder=encoder,
        bins=tuple(cells for cells in PUBLISHED_BINS if cells <= longest),
        features=2 * stages.features[0],
        auxiliary_features=stages.features[0],
    )


def check_patch(settings: Settings, patch: Axes) -> None:
    """Refuse bins that no axis of a patch's map can fill.

    Raises
    ------
    PlanError
        When a bin has more cells than the last map has voxels along its longest axis.
    """
    reduction = plan_layout(settings.encoder, spatial_dims=len(patch)).reductions[-1]
    size = map_size(patch, reduction)
    if max(settings.bins) > max(size):
        extent = " x ".join(str(n) for n in size)
        raise PlanError(
            f"a pyramid bin of {max(settings.bins)} cells is larger than the feature map of a patch"
            f" ({extent} voxels); choose smaller bins, a larger patch or a smaller output stride"
        )


class PSPNet(nn.Module):
    """Encoder, pyramid pooling, and an auxiliary head while training.

    Notes
    -----
    ``forward`` takes ``image_BCIJK`` of any size and gives ``logits_BLIJK`` of the same size.
    While training with the auxiliary head it gives a list: those logits, and the auxiliary ones.
    """

    def __init__(self, encoder: Encoder, settings: Settings, out_channels: int) -> None:
        super().__init__()
        dims, channels = encoder.layout.spatial_dims, encoder.channels[-1]
        factory = ConvFactory(dims, 1.0, settings.encoder.norm)
        bins = settings.bins
        self.encoder = encoder
        branch = max(channels // len(bins), 1)
        self.branches = nn.ModuleList(PyramidPooling(channels, branch, n, dims) for n in bins)
        self.join = atrous_block(factory, channels + len(bins) * branch, settings.features)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = pointwise(settings.features, out_channels, dims)
        self.auxiliary = _auxiliary(
            factory, encoder.channels[AUXILIARY_LEVEL], settings, out_channels
        )
        initialise(self)

    def forward(self, image_BCIJK: Tensor) -> Tensor | list[Tensor]:
        image = pad_to_nodes(image_BCIJK, self.encoder.layout.reductions[-1])
        features = self.encoder(image)
        x = features[-1]
        joined = self.join(torch.cat((x, *(branch(x) for branch in self.branches)), dim=1))
        scores = [self.head(self.dropout(joined))]
        if self.training and self.auxiliary is not None:
            scores.append(self.auxiliary(features[AUXILIARY_LEVEL]))
        size = image_BCIJK.shape[2:]
        logits = [crop(upsample(score, image.shape[2:]), size) for score in scores]
        return logits if len(logits) > 1 else logits[0]


class PyramidPooling(nn.Module):
    """Averages over cells, mixed and spread over the map again.

    Parameters
    ----------
    channels, width : int
    cells : int
        Along each axis, at most one for every voxel.
    spatial_dims : int
        2 or 3.

    Notes
    -----
    The convolution has a bias and no norm: a norm over so few cells would take away the very
    averages the branch is for, and over a single one nothing would be left.
    """

    def __init__(self, channels: int, width: int, cells: int, spatial_dims: int) -> None:
        super().__init__()
        self.cells = cells
        self.mix = pointwise(channels, width, spatial_dims)
        self.mode = "trilinear" if spatial_dims == 3 else "bilinear"

    def forward(self, x_BCIJK: Tensor) -> Tensor:
        size = x_BCIJK.shape[2:]
        cells = tuple(min(self.cells, n) for n in size)
        x = torch.relu(self.mix(pool_to(x_BCIJK, cells)))
        return nn.functional.interpolate(x, size, mode=self.mode)


def _auxiliary(
    factory: ConvFactory, channels: int, settings: Settings, out_channels: int
) -> nn.Sequential | None:
    """A 3-wide convolution and logits, or None."""
    width = settings.auxiliary_features
    if width == 0:
        return None
    return nn.Sequential(
        atrous_block(factory, channels, width),
        nn.Dropout(settings.dropout),
        pointwise(width, out_channels, factory.spatial_dims),
    )
