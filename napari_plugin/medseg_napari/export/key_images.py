"""Key images: three planes through a structure, with the outlines of all, as radiologists see them.

The planes are drawn at their true proportions with the patient's right on the left, and letters
at the edges say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medseg.volume import Label, LabelMap, Scan
from medseg.volume.conventions import IPL, Reorientation

PAPER, INK = "#111418", "#e8eaed"

_PLANES = (("Axial", 0, "RLAP"), ("Coronal", 1, "RLSI"), ("Sagittal", 2, "APSI"))
"""Name, the axis of I, P, L a slice is taken across, letters at left, right, top, bottom."""

_LETTER = "#ffd75e"
_WIDTH_INCHES = 11.0
_BESIDES_INCHES = 1.05  # titles above the planes and the line below them


@dataclass(frozen=True, eq=False)
class Views:
    """A scan and its labels turned to I, P, L, ready to be drawn.

    Parameters
    ----------
    image : ndarray, shape (I, P, L)
    values : ndarray of unsigned int, shape (I, P, L)
    labels : LabelMap
        The labels as they came, for names and colours.
    spacing_mm : tuple of float
    window : tuple of float
    """

    image: npt.NDArray[Any]
    values: npt.NDArray[Any]
    labels: LabelMap
    spacing_mm: tuple[float, ...]
    window: tuple[float, float]

    @classmethod
    def of(cls, scan: Scan, labels: LabelMap, window: tuple[float, float]) -> Views:
        """Views of a scan and labels that share a grid."""
        turn = Reorientation.towards(scan.grid, IPL)
        spacing = tuple(turn.target.spacing_mm)
        return cls(turn.apply(scan.voxels[0]), turn.apply(labels.values), labels, spacing, window)

    def middle_of(self, label: Label) -> tuple[int, int, int]:
        """The voxel of a structure that is nearest to its centroid.

        Parameters
        ----------
        label : Label
            Some voxel must hold it.

        Returns
        -------
        tuple of int
            I, P, L; for a hollow or curved structure too it lies inside.
        """
        places = np.argwhere(self.values == label.value)
        away_mm = (places - places.mean(axis=0)) * np.asarray(self.spacing_mm)
        first, second, third = places[(away_mm**2).sum(axis=1).argmin()].tolist()
        return first, second, third


def three_planes(views: Views, label: Label, footer: str) -> Figure:
    """The planes through the middle of one structure.

    Parameters
    ----------
    views : Views
    label : Label
        The structure; its outline is the thick one.
    footer : str
        A line at the bottom.

    Returns
    -------
    matplotlib.figure.Figure
        Dark, 11 inches wide.
    """
    place = views.middle_of(label)
    extents = [_size_mm(views, across) for _, across, _ in _PLANES]
    wide = sum(width for width, _ in extents)
    height = _WIDTH_INCHES * max(high for _, high in extents) / wide
    figure = Figure((_WIDTH_INCHES, height + _BESIDES_INCHES), facecolor=PAPER)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=[width for width, _ in extents])
    figure.subplots_adjust(0.01, 0.42 / (height + _BESIDES_INCHES), 0.99, 0.86, 0.03)
    for panel, (name, across, letters) in zip(panels, _PLANES, strict=True):
        _draw(panel, views, across, place[across], label)
        _write_letters(panel, letters)
        count = views.values.shape[across]
        panel.set_title(f"{name}, slice {place[across] + 1} of {count}", color=INK, fontsize=9)
    figure.suptitle(label.name, color=INK, fontsize=13, fontweight="bold", x=0.012, ha="left")
    figure.text(0.012, 0.02, footer, color=_LETTER, fontsize=9)
    return figure


def _draw(panel: Any, views: Views, across: int, index: int, label: Label) -> None:
    """One plane in grey, with outlines."""
    low, high = views.window
    width, height = _size_mm(views, across)
    extent = (0.0, width, height, 0.0)
    grey = np.take(views.image, index, axis=across)
    panel.imshow(grey, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="antialiased")
    values = np.take(views.values, index, axis=across)
    for one in views.labels.table:
        _outline(panel, values == one.value, one, thick=one.value == label.value, extent=extent)
    panel.set_axis_off()


def _outline(
    panel: Any,
    mask: npt.NDArray[np.bool_],
    label: Label,
    *,
    thick: bool,
    extent: tuple[float, float, float, float],
) -> None:
    """The border of a mask, halfway between the voxels in and out."""
    if not mask.any():
        return
    rows, columns = mask.shape
    x = (np.arange(-1, columns + 1) + 0.5) * extent[1] / columns
    y = (np.arange(-1, rows + 1) + 0.5) * extent[2] / rows
    color = [part / 255 for part in label.color]
    panel.contour(
        x,
        y,
        np.pad(mask.astype(float), 1),
        levels=[0.5],
        colors=[color],
        linewidths=1.8 if thick else 0.7,
    )
    panel.set_xlim(0, extent[1])
    panel.set_ylim(extent[2], 0)


def _size_mm(views: Views, across: int) -> tuple[float, float]:
    """Width and height of a slice."""
    height, width = (
        views.values.shape[axis] * views.spacing_mm[axis] for axis in range(3) if axis != across
    )
    return width, height


def _write_letters(panel: Any, letters: str) -> None:
    places = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.96), (0.5, 0.04))
    for letter, (x, y) in zip(letters, places, strict=True):
        panel.text(
            x,
            y,
            letter,
            transform=panel.transAxes,
            color=_LETTER,
            fontsize=11,
            fontweight="bold",
            ha="center",
            va="center",
            bbox={"facecolor": PAPER, "alpha": 0.6, "edgecolor": "none", "pad": 1.5},
        )
