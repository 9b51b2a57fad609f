"""Figures of label maps over scans; no window is opened.

Planes are drawn at their true proportions with the patient's right on the left, and letters at the
edges say so where the file says which side is which.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from medseg.volume import Grid, Label, LabelMap, LabelTable, Scan
from medseg.volume.contrast import contrast_limits
from medseg.volume.conventions import IPL, Reorientation

Picture = npt.NDArray[Any]
_PLANES = (("axial", 0, "RLAP"), ("coronal", 1, "RLSI"), ("sagittal", 2, "APSI"))
"""Name, the axis of I, P, L a slice is taken across, letters at left, right, top, bottom.

Plain slices of an array with axes I, P, L show as radiologists expect: the patient's right is on
the left.
"""

PAPER, INK = "#111418", "#e8eaed"
_LETTER = "#ffd75e"
_WIDTH_INCHES = 11.0
_MARGIN_INCHES = 1.05  # titles above the planes of a key image and the line below them
_OPACITY = 0.45
_COARSE = 64  # slices along an axis that are enough to choose one by


def overlay(scan: Scan, labels: LabelMap, *, truth: LabelMap | None = None) -> bytes:
    """Three planes through the labels, in radiological orientation, with true proportions.

    A flat scan, such as a picture, has one plane. Letters stand only where the file says which
    side is which.

    Parameters
    ----------
    scan : Scan
        Its first channel is shown; three channels of 8 bits are shown as colours.
    labels : LabelMap
        Shown in the colours of its table, on the grid of `scan`.
    truth : LabelMap, optional

    Returns
    -------
    bytes
        A PNG file.
    """
    turn = Reorientation.towards(scan.grid, IPL)
    image = _brightness(scan, turn)
    values = turn.apply(labels.values)
    outlines = None if truth is None else turn.apply(truth.values)
    flat = [plane for plane in _PLANES if values.shape[plane[1]] == 1]
    planes = flat or _PLANES
    sizes = [_size_mm(turn.target, across) for _, across, _ in planes]
    width = _WIDTH_INCHES if len(planes) > 1 else 7.0
    figure = new_figure(width, width * max(h for _, h in sizes) / sum(w for w, _ in sizes) + 0.35)
    axes = np.atleast_1d(figure.subplots(1, len(planes), width_ratios=[w for w, _ in sizes]))
    for panel, (name, across, letters), size in zip(axes, planes, sizes, strict=True):
        index = best_slice(values if outlines is None else outlines, across)
        extent = (0.0, size[0], size[1], 0.0)
        panel.imshow(np.take(image, index, across), cmap="gray", vmin=0, vmax=1, extent=extent)
        colours = paint(np.take(values, index, across), labels.table)
        panel.imshow(colours, extent=extent, interpolation="nearest")
        if outlines is not None:
            plane = np.take(outlines, index, across)
            for value in np.unique(plane[plane > 0]):
                _outline(panel, plane == value, size, color="white", width=0.7)
        if scan.provenance.laterality_known:
            _letter(panel, letters)
        if not flat:
            panel.set_title(f"{name}, slice {index + 1}", color=INK, fontsize=9)
        panel.set_axis_off()
    return png_of(figure)


@dataclass(frozen=True, eq=False)
class Views:
    """A scan and its labels turned to I, P, L, ready for the key images of several structures.

    Parameters
    ----------
    image : ndarray, shape (I, P, L)
    values : ndarray of unsigned int, shape (I, P, L)
    labels : LabelMap
        The labels as they came, for names and colours.
    grid : Grid
        Of `image` and `values`.
    window : tuple of float
        Black and white level.
    lettered : bool
        Whether left and right are known, so that letters may say them.
    """

    image: Picture
    values: Picture
    labels: LabelMap
    grid: Grid
    window: tuple[float, float]
    lettered: bool = True

    @classmethod
    def of(cls, scan: Scan, labels: LabelMap, window: tuple[float, float] | None = None) -> Views:
        """Views of a scan and labels that share a grid; without a window, one that suits it."""
        turn = Reorientation.towards(scan.grid, IPL)
        return cls(
            turn.apply(scan.voxels[0]),
            turn.apply(labels.values),
            labels,
            turn.target,
            window or contrast_limits(scan),
            scan.provenance.laterality_known,
        )

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
        voxels = np.argwhere(self.values == label.value)
        away_mm = (voxels - voxels.mean(axis=0)) * np.asarray(self.grid.spacing_mm)
        first, second, third = voxels[(away_mm**2).sum(axis=1).argmin()].tolist()
        return first, second, third


def key_image(views: Views, label: Label, footer: str) -> Figure:
    """The planes through the middle of one structure, with the outlines of all.

    Parameters
    ----------
    views : Views
    label : Label
        The structure; its outline is the thick one.
    footer : str
        A line at the bottom.
    """
    middle = views.middle_of(label)
    sizes = [_size_mm(views.grid, across) for _, across, _ in _PLANES]
    height = _WIDTH_INCHES * max(high for _, high in sizes) / sum(wide for wide, _ in sizes)
    height += _MARGIN_INCHES
    figure = Figure((_WIDTH_INCHES, height), facecolor=PAPER)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=[width for width, _ in sizes])
    figure.subplots_adjust(0.01, 0.42 / height, 0.99, 0.86, 0.03)
    for panel, (name, across, letters) in zip(panels, _PLANES, strict=True):
        index, count = middle[across], views.values.shape[across]
        _outlined_plane(panel, views, across, index, thick=label.value)
        if views.lettered:
            _letter(panel, letters)
        title = f"{name.capitalize()}, slice {index + 1} of {count}"
        panel.set_title(title, color=INK, fontsize=9)
    figure.suptitle(label.name, color=INK, fontsize=13, fontweight="bold", x=0.012, ha="left")
    figure.text(0.012, 0.02, footer, color=_LETTER, fontsize=9)
    return figure


def _outlined_plane(panel: Any, views: Views, across: int, index: int, *, thick: int) -> None:
    """One plane in grey, with outlines; that of the value `thick` is thick."""
    low, high = views.window
    width, height = size = _size_mm(views.grid, across)
    grey, values = (np.take(volume, index, axis=across) for volume in (views.image, views.values))
    extent = (0.0, width, height, 0.0)
    panel.imshow(grey, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="antialiased")
    for label in views.labels.table:
        color = [part / 255 for part in label.color]
        line = 1.8 if label.value == thick else 0.7
        _outline(panel, values == label.value, size, color=color, width=line)
    panel.set_axis_off()


def thumbnail(scan: Scan, labels: LabelMap, *, pixels: int = 160) -> bytes:
    """One small slice through the labels, in radiological orientation; drawn in milliseconds.

    Parameters
    ----------
    scan : Scan
        Its first channel is shown.
    labels : LabelMap
        Shown in the colours of its table, on the grid of `scan`.
    pixels : int, default 160

    Returns
    -------
    bytes
        A PNG file.
    """
    turn = Reorientation.towards(scan.grid, IPL)
    values = turn.apply(labels.values)
    across = next((axis for _, axis, _ in _PLANES if values.shape[axis] == 1), 0)
    coarse = tuple(
        slice(None, None, 1 if axis == across else max(1, n // _COARSE))
        for axis, n in enumerate(values.shape)
    )
    index = best_slice(values[coarse], across)
    width, height = _size_mm(turn.target, across)
    scale = pixels / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    plane = _sampled(np.take(turn.apply(scan.voxels[0]), index, across), size).astype(np.float32)
    low, high = contrast_limits(scan)
    grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)[..., None]
    colours = paint(_sampled(np.take(values, index, across), size), labels.table)
    opacity = colours[..., 3:]
    buffer = io.BytesIO()
    imsave(buffer, grey * (1 - opacity) + colours[..., :3] * opacity, format="png")
    return buffer.getvalue()


def _sampled(plane: Picture, size: tuple[int, int]) -> Picture:
    """The nearest pixels of a slice, for a picture of this width and height."""
    columns, rows = (
        (np.arange(wanted) * there // wanted)
        for wanted, there in zip(size, plane.shape[::-1], strict=True)
    )
    sampled: Picture = plane[np.ix_(rows, columns)]
    return sampled


def _brightness(scan: Scan, turn: Reorientation) -> Picture:
    """Brightness from 0 to 1, shape (I, J, K), or of three colours, shape (I, J, K, 3)."""
    low, high = contrast_limits(scan)
    coloured = scan.channels == 3 and scan.voxels.dtype == np.uint8
    channels = scan.voxels if coloured else scan.voxels[:1]
    turned = [turn.apply(channel).astype(np.float32) for channel in channels]
    bright: Picture = np.clip((np.stack(turned, axis=-1) - low) / (high - low), 0, 1)
    return bright if coloured else bright[..., 0]


def best_slice(values: Picture, across: int) -> int:
    """The slice across an axis that shows the most of the labels, each label counting the same.

    Parameters
    ----------
    values : ndarray, shape (I, J, K)
    across : int
        The axis.

    Returns
    -------
    int
        The middle slice when there is no label.
    """
    others = tuple(axis for axis in range(3) if axis != across)
    shown = np.zeros(values.shape[across])
    for value in np.unique(values[values > 0]):
        areas = (values == value).sum(axis=others)
        shown += np.minimum(areas / areas.max(), 0.7)
    return int(shown.argmax()) if shown.any() else values.shape[across] // 2


def paint(values: Picture, table: LabelTable) -> Picture:
    """Half-transparent colours of label values.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
    table : LabelTable

    Returns
    -------
    ndarray, shape (rows, columns, 4)
        Red, green, blue, opacity from 0 to 1.
    """
    colours = np.zeros((*values.shape, 4))
    for label in table:
        red, green, blue = (part / 255 for part in label.color)
        colours[values == label.value] = (red, green, blue, _OPACITY)
    return colours


def _size_mm(grid: Grid, across: int) -> tuple[float, float]:
    """Width and height of a slice in mm; `grid` has axes I, P, L, of which the first are rows."""
    height, width = (
        grid.shape[axis] * grid.spacing_mm[axis] for axis in range(3) if axis != across
    )
    return width, height


def _outline(
    panel: Any, mask: Picture, size_mm: tuple[float, float], *, color: Any, width: float
) -> None:
    """The border of a mask, halfway between the voxels in and out."""
    if not mask.any():
        return
    rows, columns = mask.shape
    x = (np.arange(-1, columns + 1) + 0.5) * size_mm[0] / columns
    y = (np.arange(-1, rows + 1) + 0.5) * size_mm[1] / rows
    outside = np.pad(mask.astype(float), 1)
    panel.contour(x, y, outside, levels=[0.5], colors=[color], linewidths=width)
    panel.set_xlim(0, size_mm[0])
    panel.set_ylim(size_mm[1], 0)


def _letter(panel: Any, letters: str) -> None:
    """Anatomical letters at the left, right, top and bottom edge."""
    edges = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.96), (0.5, 0.04))
    for letter, (x, y) in zip(letters, edges, strict=True):
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


def new_figure(width: float, height: float) -> Figure:
    """An empty figure on dark paper, of a size in inches."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=PAPER)
    return buffer.getvalue()
