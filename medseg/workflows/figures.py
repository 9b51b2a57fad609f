"""Pictures of label maps over scans, and curves of a training, as PNG; no window is opened."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.volume.conventions import Reorientation

Picture = npt.NDArray[Any]
_RADIOLOGICAL = "LPI"
"""Axes so that plain slices show as radiologists expect: the patient's right on the left."""

_PLANES = (("axial", 2, "RLAP"), ("coronal", 1, "RLSI"), ("sagittal", 0, "APSI"))
"""Name, the axis a slice is taken across, letters at left, right, top, bottom."""

_CT_WINDOW = (-160.0, 260.0)
_OPACITY = 0.45
_COARSE = 64  # places along an axis that are enough to choose a slice by
_PAPER, _INK = "#111418", "#e8eaed"


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
    turn = Reorientation.towards(scan.grid, _RADIOLOGICAL)
    image = _shown(scan, turn)
    values = turn.apply(labels.values)
    outlines = None if truth is None else turn.apply(truth.values)
    flat = [plane for plane in _PLANES if values.shape[plane[1]] == 1]
    planes = flat or _PLANES
    sizes = [_size_mm(turn.target, across) for _, across, _ in planes]
    most = 11.0 if len(planes) > 1 else 7.0
    figure = _figure(most, most * max(h for _, h in sizes) / sum(w for w, _ in sizes) + 0.35)
    axes = np.atleast_1d(figure.subplots(1, len(planes), width_ratios=[w for w, _ in sizes]))
    for panel, (name, across, letters), size in zip(axes, planes, sizes, strict=True):
        index = best_slice(values if outlines is None else outlines, across)
        extent = (0.0, size[0], size[1], 0.0)
        panel.imshow(_plane(image, across, index), cmap="gray", vmin=0, vmax=1, extent=extent)
        colours = paint(_plane(values, across, index), labels.table)
        panel.imshow(colours, extent=extent, interpolation="nearest")
        if outlines is not None:
            _outline(panel, _plane(outlines, across, index), size)
        if _tells_sides(scan):
            _letter(panel, letters)
        if not flat:
            panel.set_title(f"{name}, slice {index + 1}", color=_INK, fontsize=9)
        panel.set_axis_off()
    return _png(figure)


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
    turn = Reorientation.towards(scan.grid, _RADIOLOGICAL)
    values = turn.apply(labels.values)
    across = next((axis for _, axis, _ in _PLANES if values.shape[axis] == 1), 2)
    coarse = tuple(
        slice(None, None, 1 if axis == across else max(1, n // _COARSE))
        for axis, n in enumerate(values.shape)
    )
    index = best_slice(values[coarse], across)
    width, height = _size_mm(turn.target, across)
    scale = pixels / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    plane = _sampled(_plane(turn.apply(scan.voxels[0]), across, index), size).astype(np.float32)
    low, high = _CT_WINDOW if scan.modality == "CT" else np.percentile(plane, (1, 99.5))
    grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)[..., None]
    colours = paint(_sampled(_plane(values, across, index), size), labels.table)
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


def _shown(scan: Scan, turn: Reorientation) -> Picture:
    """Brightness from 0 to 1, shape (I, J, K), or of three colours, shape (I, J, K, 3)."""
    low, high = _window(scan)
    coloured = scan.channels == 3 and scan.voxels.dtype == np.uint8
    channels = scan.voxels if coloured else scan.voxels[:1]
    turned = [turn.apply(channel).astype(np.float32) for channel in channels]
    bright: Picture = np.clip((np.stack(turned, axis=-1) - low) / (high - low), 0, 1)
    return bright if coloured else bright[..., 0]


def _tells_sides(scan: Scan) -> bool:
    """Whether the file says which side of the patient is which."""
    return not any("left and right are not known" in note for note in scan.provenance.notes)


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


def curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss and held-out Dice of a training, side by side.

    Parameters
    ----------
    history : sequence of dict
        Records with "step" and "loss" or "dice"; see ``history.jsonl`` of a run.

    Returns
    -------
    bytes
        A PNG file.
    """
    figure = _figure(11.0, 3.4)
    left, right = figure.subplots(1, 2)
    losses = np.array([(row["step"], row["loss"]) for row in history if "loss" in row], float)
    if len(losses):
        left.plot(*losses.T, color="#5f6b7a", linewidth=0.6)
        smooth = _moving_mean(losses[:, 1], max(1, len(losses) // 25))
        left.plot(losses[:, 0], smooth, color="#f2a33a", linewidth=1.8)
    checks = [row for row in history if row.get("dice")]
    for name in dict.fromkeys(name for row in checks for name in row["dice"]):
        points = [(row["step"], row["dice"][name]) for row in checks if name in row["dice"]]
        wide = name == "foreground"
        right.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=3,
            label=name,
            linewidth=2.4 if wide else 1.0,
            color=_INK if wide else None,
        )
    right.set_ylim(0, 1.02)
    if checks:
        right.legend(fontsize=7, facecolor=_PAPER, labelcolor=_INK, loc="lower right")
    for panel, title in ((left, "training loss"), (right, "Dice on the held-out fold")):
        _ink(panel, title)
    return _png(figure)


def _window(scan: Scan) -> tuple[float, float]:
    """Darkest and brightest value to show: a soft-tissue window for CT, else percentiles."""
    if scan.modality == "CT":
        return _CT_WINDOW
    low, high = np.percentile(scan.voxels, (1, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _plane(array: Picture, across: int, index: int) -> Picture:
    """A slice with rows downwards and columns to the right; `array` has axes L, P, I."""
    plane: Picture = np.take(array, index, axis=across)
    return plane.swapaxes(0, 1)


def _size_mm(grid: Grid, across: int) -> tuple[float, float]:
    """Width and height of a slice in mm."""
    width, height = (
        grid.shape[axis] * grid.spacing_mm[axis] for axis in range(3) if axis != across
    )
    return width, height


def _outline(panel: Any, values: Picture, size_mm: tuple[float, float]) -> None:
    """White outlines around each label of a slice."""
    rows, columns = values.shape
    x = (np.arange(columns) + 0.5) * size_mm[0] / columns
    y = (np.arange(rows) + 0.5) * size_mm[1] / rows
    if min(rows, columns) < 2:
        return
    for value in np.unique(values[values > 0]):
        mask = (values == value).astype(float)
        panel.contour(x, y, mask, levels=[0.5], colors="white", linewidths=0.7)


def _letter(panel: Any, letters: str) -> None:
    """Anatomical letters at the left, right, top and bottom edge."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.97), (0.5, 0.03))
    for letter, (x, y) in zip(letters, places, strict=True):
        panel.text(
            x,
            y,
            letter,
            transform=panel.transAxes,
            color="#ffd75e",
            fontsize=11,
            fontweight="bold",
            ha="center",
            va="center",
        )


def _moving_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    window = np.ones(min(width, len(values)))
    smooth: npt.NDArray[np.float64] = np.convolve(values, window, "same")
    return smooth / np.convolve(np.ones(len(values)), window, "same")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=100, facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _ink(panel: Any, title: str) -> None:
    panel.set_facecolor(_PAPER)
    panel.set_title(title, color=_INK, fontsize=10)
    panel.set_xlabel("step", color=_INK, fontsize=8)
    panel.tick_params(colors=_INK, labelsize=8)
    panel.grid(alpha=0.15)
    for spine in panel.spines.values():
        spine.set_color("#444c56")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=_PAPER)
    return buffer.getvalue()
