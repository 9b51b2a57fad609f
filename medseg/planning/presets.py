"""Augmentation by one word: which changes, how often and how strong, as data.

``standard`` is what medseg trained with before plans said so; its ranges, and those of ``strong``,
follow nnU-Net (Isensee et al., Nature Methods 18, 2021) in a smaller form.
"""

from __future__ import annotations

from typing import Any, Literal

Preset = Literal["none", "light", "standard", "strong"]
Rows = tuple[tuple[str, dict[str, Any]], ...]

_LIGHT: Rows = (
    (
        "affine",
        {
            "probability": 0.3,
            "rotation_degrees": 10.0,
            "coarse_rotation_degrees": 5.0,
            "scale": [0.95, 1.05],
        },
    ),
    ("mirror", {"probability": 0.5}),
    ("gaussian_noise", {"probability": 0.1, "noise_std": [0.0, 0.05]}),
    ("brightness", {"probability": 0.1, "factor": [0.9, 1.1]}),
)

_STANDARD: Rows = (
    (
        "affine",
        {
            "probability": 0.5,
            "rotation_degrees": 20.0,
            "coarse_rotation_degrees": 5.0,
            "scale": [0.85, 1.15],
        },
    ),
    ("mirror", {"probability": 0.5}),
    ("gaussian_noise", {"probability": 0.1, "noise_std": [0.0, 0.1]}),
    ("gaussian_blur", {"probability": 0.1, "sigma_voxels": [0.5, 1.0]}),
    ("brightness", {"probability": 0.15, "factor": [0.75, 1.25]}),
    ("low_resolution", {"probability": 0.1, "zoom": [0.5, 1.0]}),
    ("gamma", {"probability": 0.2, "gamma": [0.7, 1.5], "keep_statistics": True}),
)

_STRONG: Rows = (
    (
        "elastic",
        {"probability": 0.2, "control_point_mm": 32.0, "displacement_mm": [0.0, 6.0]},
    ),
    (
        "affine",
        {
            "probability": 0.5,
            "rotation_degrees": 30.0,
            "coarse_rotation_degrees": 5.0,
            "scale": [0.7, 1.4],
        },
    ),
    ("mirror", {"probability": 0.5}),
    ("gaussian_noise", {"probability": 0.15, "noise_std": [0.0, 0.15]}),
    ("gaussian_blur", {"probability": 0.2, "sigma_voxels": [0.5, 1.5]}),
    ("brightness", {"probability": 0.15, "factor": [0.7, 1.3]}),
    ("contrast", {"probability": 0.15, "factor": [0.65, 1.5]}),
    ("intensity_shift", {"probability": 0.1, "offset_std": [-0.2, 0.2]}),
    ("low_resolution", {"probability": 0.25, "zoom": [0.5, 1.0]}),
    ("gamma", {"probability": 0.1, "gamma": [0.7, 1.5], "inverted": True}),
    ("gamma", {"probability": 0.3, "gamma": [0.7, 1.5], "inverted": False}),
    ("cutout", {"probability": 0.1, "boxes": 2, "edge_share": [0.1, 0.3]}),
    (
        "padding",
        {"probability": 0.1, "side_share": [0.0, 0.3], "level": [-0.5, 0.5], "zero_share": 0.5},
    ),
)

MR_ARTEFACTS: Rows = (
    ("bias_field", {"probability": 0.2, "order": 3, "coefficient": [-0.2, 0.2]}),
    ("motion", {"probability": 0.05, "rotation_degrees": 4.0, "translation_mm": 3.0}),
    ("ghosting", {"probability": 0.05, "ghosts": [2, 6], "intensity": [0.2, 0.8]}),
    ("spike", {"probability": 0.05, "amplitude_std": [0.1, 0.5]}),
)
"""Only MR scanners make them; ``strong`` has them for MR."""

PRESETS: dict[str, Rows] = {
    "none": (),
    "light": _LIGHT,
    "standard": _STANDARD,
    "strong": _STRONG,
}
