"""What a file of this package offers; the contract suite checks it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from medseg.planning.stages import Stages


class Architecture(Protocol):
    """A module of ``medseg.networks``.

    Parameters
    ----------
    Settings : type
        A frozen `msgspec.Struct` with defaults: what a plan may choose.

    Notes
    -----
    A module may have ``check_patch(settings, patch)`` besides, which raises `PlanError` when they
    do not suit a patch of so many voxels along each axis.
    """

    Settings: type[Any]

    def build(
        self, settings: Any, *, spatial_dims: int, in_channels: int, out_channels: int
    ) -> nn.Module:
        """A freshly initialised network.

        Parameters
        ----------
        settings : Settings
        spatial_dims : int
            2 or 3.
        in_channels, out_channels : int
            Channels of the image; classes including background.

        Returns
        -------
        torch.nn.Module
            From ``image_BCIJK`` (or ``image_BCIJ``) of any size to ``logits_BLIJK`` of the same
            size; while training perhaps a list of logits, the final ones first.

        Raises
        ------
        PlanError
            When settings do not fit together.
        """


class Suggests(Protocol):
    """What a module may offer besides: settings of its own for a planned patch.

    Without it, the stages' ``patch``, ``features``, ``strides`` and ``kernels`` go into the
    settings of these names, as far as there are such.
    """

    def suggest(self, stages: Stages) -> Any:
        """Settings that suit a patch and its stages, of about the cost of a plain U-Net.

        Parameters
        ----------
        stages : Stages
            What the planner found for the dataset and the budget.
        """
