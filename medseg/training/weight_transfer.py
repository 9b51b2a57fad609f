"""Weights of a model for other labels or channels: what is kept, new and dropped, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from medseg.errors import PlanError
from medseg.planning import Normalisation, Plan
from medseg.volume import LabelTable

if TYPE_CHECKING:
    from torch import Tensor, nn

LESS_THAN_BACKGROUND = 1.0
"""By how much a new label's bias begins below the background's: it is nowhere the answer yet."""
_NUMBERED = re.compile(r".+ \d+")
"""What the planner calls channels that nobody named."""
Names = tuple[str, ...]


class Transfer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run takes over from the model it starts from.

    Parameters
    ----------
    sources : tuple of int or None
        For each channel of the run the model's, by index; None for a new one.
    labels_kept, labels_new, labels_dropped : tuple of str
    channels_kept, channels_new, channels_dropped : tuple of str
    """

    sources: tuple[int | None, ...]
    labels_kept: Names
    labels_new: Names
    labels_dropped: Names
    channels_kept: Names
    channels_new: Names
    channels_dropped: Names

    @property
    def same_labels(self) -> bool:
        """Whether run and model have the labels of the same names."""
        return not (self.labels_new or self.labels_dropped)

    @property
    def same_channels(self) -> bool:
        """Whether run and model have the same channels in the same order."""
        in_order = self.sources == tuple(range(len(self.sources)))
        return in_order and not self.channels_dropped

    def facts(self) -> dict[str, str]:
        """What is kept, new and dropped, where something is not as in the model."""
        facts = {}
        for kind, same in (("labels", self.same_labels), ("channels", self.same_channels)):
            for what in ("kept", "new", "dropped") if not same else ():
                facts[f"{kind} {what}"] = ", ".join(getattr(self, f"{kind}_{what}")) or "none"
        return facts

    @property
    def sentences(self) -> list[str]:
        """The same for a person, a line for the labels and one for the channels."""
        facts = self.facts()
        return [
            f"{kind.capitalize()} of the model: "
            + "; ".join(f"{what} {facts[f'{kind} {what}']}" for what in ("kept", "new", "dropped"))
            + "."
            for kind in ("labels", "channels")
            if f"{kind} kept" in facts
        ]


def transfer_of(
    labels: LabelTable,
    channels: Names,
    sources: tuple[int | None, ...],
    model: LabelTable,
    plan: Plan,
) -> Transfer:
    """What is kept, new and dropped.

    Parameters
    ----------
    labels : LabelTable
        Of the run.
    channels : tuple of str
        Of the run.
    sources : tuple of int or None
        As :func:`channel_sources` gives them.
    model : LabelTable
        Of the model.
    plan : Plan
        The model's.
    """
    paired = list(zip(channels, sources, strict=True))
    theirs = plan.channels
    return Transfer(
        sources=sources,
        labels_kept=tuple(name for name in labels.names if name in model.names),
        labels_new=tuple(name for name in labels.names if name not in model.names),
        labels_dropped=tuple(name for name in model.names if name not in labels.names),
        channels_kept=tuple(name for name, source in paired if source is not None),
        channels_new=tuple(name for name, source in paired if source is None),
        channels_dropped=tuple(name for n, name in enumerate(theirs) if n not in sources),
    )


def channel_sources(names: Names, count: int, theirs: Names) -> tuple[int | None, ...] | None:
    """For each channel of a dataset the model's channel of the same name.

    Parameters
    ----------
    names : tuple of str
        Of the dataset's channels; empty when the folder names none.
    count : int
        Of the dataset's channels.
    theirs : tuple of str
        Names of the model's channels. Where a side has no names, or there is one channel on
        each, they are matched by number.

    Returns
    -------
    tuple of int or None
        None in it is a channel that the model does not know; None in place of it means that no
        channel is known.
    """
    ours = [name.casefold() for name in names]
    unnamed = len({*ours} - {""}) < count or all(map(_NUMBERED.fullmatch, theirs))
    if count == len(theirs) and (count == 1 or unnamed):
        return tuple(range(count))
    if len({*ours} - {""}) < count:
        return None
    index = {name.casefold(): number for number, name in enumerate(theirs)}
    sources = tuple(index.get(name) for name in ours)
    return None if all(source is None for source in sources) else sources


def transferred(
    network: nn.Module,
    weights: dict[str, Tensor],
    transfer: Transfer,
    *,
    plan: Plan,
    model: LabelTable,
    labels: LabelTable,
) -> dict[str, Tensor]:
    """The model's weights, fitted to a network of other labels or channels.

    Rows of the output layers go by the labels' names; a new label's begin as the background's, with
    a bias below it. Columns of the first layers go by the channels; a new channel's are 0, so that
    the network begins by doing what the model does.

    Parameters
    ----------
    network : torch.nn.Module
        Freshly initialised, for the run; among regions, a new one keeps its weights.
    weights : dict of str to torch.Tensor
        Of the model.
    transfer : Transfer
    plan : Plan
        The model's.
    model, labels : LabelTable
        Of the model, and of the run.

    Raises
    ------
    PlanError
        When layers are not built one row a label, or one column a channel.
    """
    rows, columns = _label_axes(plan, model), _channel_axes(plan, plan.outputs(model))
    fitted = {}
    for name, fresh in network.state_dict().items():
        value, ours = weights[name], fresh.detach().cpu().float().clone()
        if name in columns:
            value = _columns(value, transfer.sources, axis=columns[name], count=len(plan.channels))
        if name in rows:
            first = 0 if plan.regions else 1
            value = _rows(value, ours, model.names, labels.names, axis=rows[name], first=first)
        if value.shape != fresh.shape:
            raise PlanError(
                f"the network '{plan.network.name}' of the model cannot go on with other labels or"
                f" channels: its '{name}' has the shape {tuple(value.shape)} and would need"
                f" {tuple(fresh.shape)}; train without --from"
            )
        fitted[name] = value
    return fitted


def _columns(value: Tensor, sources: Sequence[int | None], *, axis: int, count: int) -> Tensor:
    """Weights on channels, in the run's order."""
    if value.shape[axis] != count:
        return value
    import torch

    parts = value.split(1, axis)
    zero = torch.zeros_like(parts[0])
    return torch.cat([zero if s is None else parts[s] for s in sources], axis)


def _rows(
    value: Tensor, fresh: Tensor, theirs: Names, ours: Names, *, axis: int, first: int
) -> Tensor:
    """Weights of outputs, in the run's order."""
    if value.shape[axis] != len(theirs) + first or fresh.shape[axis] != len(ours) + first:
        return value
    rows, result = value.movedim(axis, 0), fresh.movedim(axis, 0)
    if first:
        result[:] = rows[0] - (LESS_THAN_BACKGROUND if value.ndim == 1 else 0.0)
        result[0] = rows[0]
    for number, name in enumerate(ours):
        if name in theirs:
            result[number + first] = rows[theirs.index(name) + first]
    return fresh


def _label_axes(plan: Plan, model: LabelTable) -> dict[str, int]:
    """Parameters that grow with the number of labels, and along which axis."""
    classes = plan.outputs(model)
    return _grown(_shapes(plan, classes), _shapes(plan, classes + 1))


def _channel_axes(plan: Plan, classes: int) -> dict[str, int]:
    """Parameters that grow with the number of channels, and along which axis."""
    more = structs.replace(
        plan,
        channels=(*plan.channels, "another"),
        normalisation=(*plan.normalisation, Normalisation()),
    )
    return _grown(_shapes(plan, classes), _shapes(more, classes))


def _shapes(plan: Plan, classes: int) -> dict[str, tuple[int, ...]]:
    from medseg.networks import build_network

    network = build_network(plan, classes=classes)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _grown(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> dict[str, int]:
    return {
        name: next(n for n, (a, b) in enumerate(zip(shape, after[name], strict=True)) if a != b)
        for name, shape in before.items()
        if after.get(name, shape) != shape
    }
