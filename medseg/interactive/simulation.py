"""Prompts as a person might set them, for training: on a batch of patches, without a prediction.

The numbers are those of DKFZ's entry to autoPET IV (arXiv:2508.21680): how many clicks, that most
lie deep in an error and others near its surface, and small balls that fall to their surface rather
than Gaussians. The mask before is nothing, or the truth after damage, so that a network learns
to correct in a step that costs no more than a plain one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=32)]
_DEEPEST = 8  # voxels of the smallest spacing; beyond that all is as deep
_CURVE_POINTS = 48


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How prompts are simulated; lengths are in voxels of the plan's smallest spacing.

    Parameters
    ----------
    most_clicks : int, default 10
        On each side; k of them are drawn with a weight of ``log(most_clicks + 2 - k)``.
    deep : float, default 0.8
        Share of the clicks that lie deep in an error; the others lie near its surface.
    jitter : float, default 3
        Farthest that a deep click is moved along each axis.
    near_surface : int, default 3
        How deep the other clicks lie at most.
    scribbles : float, default 0.2
        Share of the patches in which the last click of a side is drawn out to a curve.
    radius : float, default 2
        Of the ball that marks a point in the network's input.
    nothing_before : float, default 0.33
        Share of the patches in which nothing was drawn before.
    damage : float, default 0.5
        How often each of the damages is done to the others: shifted, grown or shrunk, a part
        removed, a part added.
    largest_damage : int, default 3
        Of a shift or a growth; parts are balls of up to three times that radius.
    """

    most_clicks: Count = 10
    deep: Share = 0.8
    jitter: Annotated[float, Meta(ge=0)] = 3.0
    near_surface: Annotated[int, Meta(ge=1, le=_DEEPEST)] = 3
    scribbles: Share = 0.2
    radius: Annotated[float, Meta(ge=0, le=16)] = 2.0
    nothing_before: Share = 0.33
    damage: Share = 0.5
    largest_damage: Annotated[int, Meta(ge=0, le=16)] = 3


DEFAULT = Settings()


class Points(NamedTuple):
    """Points in a batch of patches.

    Parameters
    ----------
    sample : Tensor of int, shape (N,)
        Number of the patch that each lies in.
    voxel : Tensor of int, shape (N, D)
    """

    sample: Tensor
    voxel: Tensor


def simulated_prompts(
    truth: Tensor,
    spacing_mm: Sequence[float],
    *,
    generator: torch.Generator,
    settings: Settings = DEFAULT,
    before: Tensor | None = None,
) -> Tensor:
    """The three channels that a click model sees besides the image.

    Parameters
    ----------
    truth : Tensor of bool, shape (B, I, J, K) or (B, I, J)
        One structure in each patch; may be empty.
    spacing_mm : sequence of float
        Of the spatial axes.
    generator : torch.Generator
        On the CPU; the same numbers give the same prompts.
    settings : Settings
    before : Tensor of bool, optional
        The mask to be corrected, such as a network's own; drawn by :func:`mask_before` otherwise.

    Returns
    -------
    Tensor of float, shape (B, 3, I, J, K) or (B, 3, I, J)
        The mask before, balls of prompts for the structure, and balls of those against it.
    """
    if before is None:
        before = mask_before(truth, spacing_mm, generator=generator, settings=settings)
    channels = [before.float()]
    for error in (truth & ~before, before & ~truth):
        points = clicks_in(error, spacing_mm, generator=generator, settings=settings)
        channels.append(balls(points, error.shape, spacing_mm, radius=settings.radius))
    return torch.stack(channels, 1)


def mask_before(
    truth: Tensor,
    spacing_mm: Sequence[float],
    *,
    generator: torch.Generator,
    settings: Settings = DEFAULT,
) -> Tensor:
    """What might have been there before the first click: nothing, or the truth after damage.

    Parameters
    ----------
    truth : Tensor of bool, shape (B, I, J, K) or (B, I, J)
    spacing_mm : sequence of float
    generator : torch.Generator
    settings : Settings

    Returns
    -------
    Tensor of bool
        Of the shape of `truth`.
    """
    before = torch.zeros_like(truth)
    for number, mask in enumerate(truth):
        if _chance(generator) >= settings.nothing_before:
            before[number] = _damaged(mask, spacing_mm, generator, settings)
    return before


def _damaged(
    mask: Tensor, spacing_mm: Sequence[float], generator: torch.Generator, settings: Settings
) -> Tensor:
    """One mask (I, J, K) or (I, J), shifted, grown or shrunk, with a part removed or added."""
    largest, finest_mm = settings.largest_damage, min(spacing_mm)
    if _chance(generator) < settings.damage:
        for axis, mm in enumerate(spacing_mm):
            steps = round((2 * _chance(generator) - 1) * largest * finest_mm / mm)
            mask = _shifted(mask, steps, axis)
    if _chance(generator) < settings.damage:
        steps = 1 + int(_chance(generator) * largest) if largest else 0
        mask = _grown(mask, spacing_mm, steps, shrink=_chance(generator) < 0.5)
    for is_added in (False, True):
        middle = _any_voxel(mask, generator)
        if _chance(generator) < settings.damage and middle is not None:
            radius_mm = (0.5 + 2.5 * _chance(generator)) * largest * finest_mm
            part = _away_mm(middle, mask.shape, spacing_mm).to(mask.device) <= radius_mm
            mask = mask | part if is_added else mask & ~part
    return mask


def _shifted(mask: Tensor, steps: int, axis: int) -> Tensor:
    """A mask moved along an axis; what comes in from outside is empty."""
    moved = torch.roll(mask, steps, axis)
    if steps:
        span = slice(0, steps) if steps > 0 else slice(steps, None)
        moved[(slice(None),) * axis + (span,)] = False
    return moved


def _grown(mask: Tensor, spacing_mm: Sequence[float], steps: int, *, shrink: bool) -> Tensor:
    """A mask with a surface some voxels of the smallest spacing farther out, or in."""
    grown = ~mask if shrink else mask
    for step in range(1, steps + 1):
        grown = _next_shell(grown[None], spacing_mm, step)[0]
    return ~grown if shrink else grown


def _next_shell(masks: Tensor, spacing_mm: Sequence[float], step: int) -> Tensor:
    """Masks (B, ...) after one voxel of the smallest spacing more along each axis it reaches."""
    finest_mm = min(spacing_mm)
    kernel = [
        3 if int(step * finest_mm / mm + 1e-6) > int((step - 1) * finest_mm / mm + 1e-6) else 1
        for mm in spacing_mm
    ]
    pool = (
        torch.nn.functional.max_pool3d if len(spacing_mm) == 3 else torch.nn.functional.max_pool2d
    )
    padding = [size // 2 for size in kernel]
    return pool(masks[:, None].float(), kernel, 1, padding)[:, 0] > 0


def depth(masks: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """How many voxels of the smallest spacing a voxel lies below a mask's surface, up to 8.

    Parameters
    ----------
    masks : Tensor of bool, shape (B, I, J, K) or (B, I, J)
        What lies beyond the patch counts as inside.
    spacing_mm : sequence of float

    Returns
    -------
    Tensor of int
        0 outside, 1 at the surface.
    """
    levels = masks.int()
    outside = ~masks
    for step in range(1, _DEEPEST):
        outside = _next_shell(outside, spacing_mm, step)
        levels += (~outside).int()
    return levels


def clicks_in(
    errors: Tensor,
    spacing_mm: Sequence[float],
    *,
    generator: torch.Generator,
    settings: Settings = DEFAULT,
) -> Points:
    """Clicks in the errors of one side, some of them drawn out to a curve.

    Parameters
    ----------
    errors : Tensor of bool, shape (B, I, J, K) or (B, I, J)
    spacing_mm : sequence of float
    generator : torch.Generator
    settings : Settings

    Returns
    -------
    Points
        All of them in the errors; none in a patch without any.
    """
    levels = depth(errors, spacing_mm)
    samples, voxels = [], []
    for number, (error, level) in enumerate(zip(errors, levels, strict=True)):
        clicks = _clicks(error, level, spacing_mm, generator, settings)
        samples.append(torch.full((len(clicks),), number, dtype=torch.long))
        voxels.append(clicks)
    device = errors.device
    return Points(torch.cat(samples).to(device), torch.cat(voxels).to(device))


def _clicks(
    error: Tensor,
    level: Tensor,
    spacing_mm: Sequence[float],
    generator: torch.Generator,
    settings: Settings,
) -> Tensor:
    """The voxels (N, D) of the clicks in one patch, on the host."""
    count = click_count(settings.most_clicks, generator)
    where = error.nonzero().cpu()
    if not count or not len(where):
        return where[:0]
    levels = level[error].cpu()
    is_deep = torch.rand(count, generator=generator) < settings.deep
    middle = torch.exp(levels.double()) - 1  # DeepEdit's weight
    surface = (levels <= settings.near_surface).double()
    deep = where[_drawn(middle, int(is_deep.sum()), generator)]
    finest_mm = min(spacing_mm)
    reach = torch.tensor([settings.jitter * finest_mm / mm for mm in spacing_mm])
    moved = deep + ((2 * torch.rand(deep.shape, generator=generator) - 1) * reach).round().long()
    clicks = torch.cat([moved, where[_drawn(surface, int((~is_deep).sum()), generator)]])
    if len(clicks) and _chance(generator) < settings.scribbles:
        end = where[_drawn(torch.ones(len(where)), 1, generator)][0]
        clicks = torch.cat([clicks, _curve(clicks[-1], end, generator)])
    return _those_inside(clicks, error.cpu())


def click_count(most: int, generator: torch.Generator) -> int:
    """How many clicks, 0 to `most`; few are likelier than many."""
    weights = torch.tensor([math.log(most + 2 - count) for count in range(most + 1)])
    return int(torch.multinomial(weights, 1, generator=generator))


def _curve(start: Tensor, end: Tensor, generator: torch.Generator) -> Tensor:
    """Voxels (N, D) along a bent line between two."""
    along = torch.linspace(0, 1, _CURVE_POINTS)[:, None]
    length = (end - start).float().norm()
    bend = (2 * torch.rand(len(start), generator=generator) - 1) * length / 4
    points = start + along * (end - start) + torch.sin(math.pi * along) * bend
    curve: Tensor = points.round().long().unique(dim=0)
    return curve


def _those_inside(voxels: Tensor, mask: Tensor) -> Tensor:
    size = torch.tensor(mask.shape)
    voxels = voxels[((voxels >= 0) & (voxels < size)).all(dim=1)]
    inside: Tensor = voxels[mask[tuple(voxels.T)]]
    return inside


def balls(
    points: Points, shape: Sequence[int], spacing_mm: Sequence[float], *, radius: float
) -> Tensor:
    """Points as balls that are 1 in the middle and fall evenly to 0 just beyond their radius.

    Parameters
    ----------
    points : Points
    shape : sequence of int
        (B, I, J, K) or (B, I, J), of the answer.
    spacing_mm : sequence of float
    radius : float
        In voxels of the smallest spacing.

    Returns
    -------
    Tensor of float
        The largest where balls meet.
    """
    finest_mm = min(spacing_mm)
    reach = [int(radius * finest_mm / mm + 1e-6) for mm in spacing_mm]
    spans = [torch.arange(-n, n + 1) for n in reach]
    offsets = torch.cartesian_prod(*spans).reshape(-1, len(spans))
    away = (offsets * torch.tensor(spacing_mm)).norm(dim=1) / finest_mm
    offsets, values = offsets[away <= radius + 1e-6], 1 - away[away <= radius + 1e-6] / (radius + 1)
    device = points.voxel.device
    maps = torch.zeros(tuple(shape), device=device)
    voxels = (points.voxel[:, None] + offsets.to(device)).reshape(-1, len(spans))
    samples = points.sample[:, None].expand(-1, len(offsets)).reshape(-1)
    size = torch.tensor(shape[1:], device=device)
    inside = ((voxels >= 0) & (voxels < size)).all(dim=1)
    flat = samples
    for axis, count in enumerate(shape[1:]):
        flat = flat * count + voxels[:, axis]
    heights = values.to(device).repeat(len(points.sample))
    return maps.view(-1).scatter_reduce(0, flat[inside], heights[inside], "amax").view(tuple(shape))


def _drawn(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices drawn by weight, with repetition; none when no weight is left."""
    if not count or not float(weights.sum()) > 0:
        return torch.zeros(0, dtype=torch.long)
    steps = weights.double().cumsum(0)  # multinomial takes no more than 2^24 of them
    places = torch.rand(count, generator=generator, dtype=torch.float64) * steps[-1]
    return torch.searchsorted(steps, places, right=True).clamp_(max=len(weights) - 1)


def _any_voxel(mask: Tensor, generator: torch.Generator) -> Tensor | None:
    where = mask.nonzero().cpu()
    return where[int(_chance(generator) * len(where))] if len(where) else None


def _away_mm(middle: Tensor, shape: Sequence[int], spacing_mm: Sequence[float]) -> Tensor:
    """Distance of each voxel to one of them."""
    squares = torch.zeros(())
    for axis, (size, mm) in enumerate(zip(shape, spacing_mm, strict=True)):
        steps = (torch.arange(size) - middle[axis]) * mm
        squares = squares + (steps**2).view([-1 if n == axis else 1 for n in range(len(shape))])
    return squares.sqrt()


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
