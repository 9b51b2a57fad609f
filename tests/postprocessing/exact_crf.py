"""The CRF by its definition: every pair of voxels, one matrix a kernel. For small images only."""

from __future__ import annotations

import torch


def exact_mean_field(probabilities_LIJK, image_CIJK, *, spacing_mm, settings):
    """Probabilities after the mean-field updates, in float64; same shape."""
    shape = image_CIJK.shape[1:]
    axes = [
        torch.arange(n, dtype=torch.float64) * mm for n, mm in zip(shape, spacing_mm, strict=True)
    ]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    seen = image_CIJK.flatten(1).T.double()
    near, alike = _gaussian(place / settings.appearance_mm), _gaussian(seen / settings.intensity)
    appearance = settings.appearance_weight * _normalised(near * alike)
    smoothness = settings.smoothness_weight * _normalised(_gaussian(place / settings.smoothness_mm))
    evidence = probabilities_LIJK.flatten(1).double().clamp_min(1e-8).log()
    belief = probabilities_LIJK.flatten(1).double()
    for _ in range(settings.iterations):
        belief = torch.softmax(evidence + belief @ (appearance + smoothness), dim=0)
    return belief.reshape(probabilities_LIJK.shape)


def _gaussian(points):
    return torch.exp(-0.5 * torch.cdist(points, points) ** 2)


def _normalised(kernel):
    scale = kernel.sum(1).rsqrt()
    kernel = kernel * scale[:, None] * scale[None]
    return kernel.fill_diagonal_(0)
