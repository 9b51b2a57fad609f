"""DynUNet: the U-Net of nnU-Net as MONAI writes it, wrapped.

Isensee et al., nnU-Net (Nature Methods 18, 2021); with `residual`, Futrega et al., Optimized U-Net
for brain tumor segmentation (BrainLes 2021). Its weights are interchangeable with MONAI's; `unet`
is the same idea in channels-last order.
"""

from __future__ import annotations

import msgspec
from monai.networks.nets import DynUNet

from medseg.errors import PlanError
from medseg.networks.blocks.layers import per_axis
from medseg.networks.blocks.padded import Padded
from medseg.networks.blocks.skip_network import Stage, plan_stages
from medseg.planning.stages import Axes, Stages

FEWEST = 3
"""Stages MONAI's network needs."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan chooses for this network.

    Parameters
    ----------
    features : tuple of int
        Channels of each of three or more stages, finest first.
    strides : tuple of tuple of int
        Step into each stage along each axis; empty means 1 into the first, 2 into all others.
    kernels : tuple of tuple of int
        Kernel size of each stage along each axis (odd); empty means 3. Along an axis that strides
        it is at least 3.
    residual : bool
        Whether blocks have shortcuts.
    deep_supervision : bool
        Whether coarser decoder levels give logits, enlarged to the image, while training.
    """

    features: tuple[int, ...] = (32, 64, 128, 256)
    strides: tuple[Axes, ...] = ()
    kernels: tuple[Axes, ...] = ()
    residual: bool = False
    deep_supervision: bool = True


def build(settings: Settings, *, spatial_dims: int, in_channels: int, out_channels: int) -> Padded:
    """Make the network.

    Raises
    ------
    PlanError
        When there are fewer than three stages, or they do not fit together.
    """
    stages = plan_stages(settings.features, settings.strides, settings.kernels, spatial_dims)
    if len(stages) < FEWEST:
        raise PlanError(f"dynunet needs {FEWEST} stages or more, got {len(stages)}; try unet")
    if set(stages[0].stride) != {1}:
        raise PlanError(f"dynunet's first stage cannot stride, got {stages[0].stride}")
    network = DynUNet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=[_kernel(stage) for stage in stages],
        strides=[stage.stride for stage in stages],
        upsample_kernel_size=[stage.stride for stage in stages[1:]],
        filters=settings.features,
        deep_supervision=settings.deep_supervision,
        deep_supr_num=len(stages) - 2,
        res_block=settings.residual,
    )
    _register_once(network)
    return Padded(network, per_axis(stage.stride for stage in stages))


def suggest(stages: Stages) -> Settings:
    """The planner's stages; where there are fewer than three, more that do not stride."""
    missing = max(FEWEST - len(stages.features), 0)
    return Settings(
        features=stages.features + stages.features[-1:] * missing,
        strides=stages.strides + ((1,) * stages.spatial_dims,) * missing,
        kernels=stages.kernels + stages.kernels[-1:] * missing,
    )


def _register_once(network: DynUNet) -> None:
    """Take MONAI's second way to its own layers out of the state dict: files hold weights once."""
    skips = network.skip_layers
    del network.skip_layers
    object.__setattr__(network, "skip_layers", skips)


def _kernel(stage: Stage) -> Axes:
    """The stage's kernel, wide enough that MONAI can pad it where it strides."""
    pairs = zip(stage.kernel, stage.stride, strict=True)
    return tuple(max(size, 3) if step > 1 else size for size, step in pairs)
