"""Hypothesis strategies the tests share: grids as scanners and people make them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from medseg.volume import Grid

_ANGLES = st.floats(-np.pi, np.pi)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """Proper rotation matrix of three Euler angles."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (n for n in range(3) if n != axis)
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


@st.composite
def grids(draw: st.DrawFn, *, largest: int = 9) -> Grid:
    """Oblique, anisotropic, mirrored and permuted grids anywhere in the room."""
    shape = draw(st.tuples(*[st.integers(1, largest)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    order = draw(st.permutations(range(3)))
    matrix = rotation(draw(st.tuples(_ANGLES, _ANGLES, _ANGLES)))[:, list(order)]
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.asarray(spacing) * np.asarray(signs)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return Grid(shape, affine)
