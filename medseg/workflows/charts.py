"""Charts of a training and of its scores; no window is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.metrics.measures import MEASURES
from medseg.metrics.scores import Row, label_names
from medseg.volume.label_table import MEAN
from medseg.workflows.figures import INK, PAPER, new_figure, png_of

_BOX, _POINT, _MIDDLE = "#8ab4f8", "#57b894", "#f2a33a"


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
    figure = new_figure(11.0, 3.4)
    left, right = figure.subplots(1, 2)
    losses = np.array([(row["step"], row["loss"]) for row in history if "loss" in row], float)
    if len(losses):
        left.plot(*losses.T, color="#5f6b7a", linewidth=0.6)
        smooth = _moving_mean(losses[:, 1], max(1, len(losses) // 25))
        left.plot(losses[:, 0], smooth, color="#f2a33a", linewidth=1.8)
    checks = [row for row in history if row.get("dice")]
    names = dict.fromkeys(name for row in checks for name in row["dice"])
    if len(names) == 2:  # of one label the mean would lie on its line
        names.pop(MEAN, None)
    for name in names:
        points = [(row["step"], row["dice"][name]) for row in checks if name in row["dice"]]
        wide = name == MEAN
        right.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=3,
            label=name,
            linewidth=2.4 if wide else 1.0,
            color=INK if wide else None,
        )
    right.set_ylim(0, 1.02)
    if checks:
        right.legend(fontsize=7, facecolor=PAPER, labelcolor=INK, loc="best")
    for panel, title in ((left, "training loss"), (right, "Dice on the held-out fold")):
        _ink(panel, title, below="step")
    return png_of(figure)


def box_plots(rows: Sequence[Row], keys: Sequence[str]) -> bytes:
    """Box plots of measures, label by label, with a point for each case.

    Parameters
    ----------
    rows : sequence of dict
        Of cases, as in a scores file.
    keys : sequence of str
        Of the measures, a panel each.

    Returns
    -------
    bytes
        A PNG file.

    Notes
    -----
    A box holds the middle half of the cases, its line is the median, and whiskers reach the last
    case within 1.5 times its length (Tukey, Exploratory Data Analysis, 1977).
    """
    names = label_names({"cases": rows})
    figure = new_figure(11.0, 1.1 + 0.42 * max(len(names), 2))
    panels = np.atleast_1d(figure.subplots(1, len(keys), sharey=True))
    for panel, key in zip(panels, keys, strict=True):
        columns = [_values(rows, name, key) for name in names]
        line = {"color": _BOX, "linewidth": 1.1}
        panel.boxplot(
            columns,
            orientation="horizontal",
            widths=0.5,
            showfliers=False,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": _MIDDLE, "linewidth": 2.0},
        )
        for row, values in enumerate(columns, start=1):
            beside = row + 0.2 * np.sin(np.arange(len(values)) * 2.4)
            panel.plot(values, beside, "o", markersize=3, color=_POINT, alpha=0.7)
        panel.set_yticks(range(1, len(names) + 1), names)
        panel.set_ylim(len(names) + 0.6, 0.4)
        _ink(panel, MEASURES[key].title.partition(",")[0], below=MEASURES[key].title)
    return png_of(figure)


def _values(rows: Sequence[Row], name: str, key: str) -> list[float]:
    """A measure of a label, of the cases that have one."""
    values = (row["labels"].get(name, {}).get(key) for row in rows)
    return [value for value in values if value is not None]


def _moving_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    window = np.ones(min(width, len(values)))
    smooth: npt.NDArray[np.float64] = np.convolve(values, window, "same")
    return smooth / np.convolve(np.ones(len(values)), window, "same")


def _ink(panel: Any, title: str, *, below: str) -> None:
    panel.set_facecolor(PAPER)
    panel.set_title(title, color=INK, fontsize=10)
    panel.set_xlabel(below, color=INK, fontsize=8)
    panel.tick_params(colors=INK, labelsize=8)
    panel.grid(alpha=0.15)
    for spine in panel.spines.values():
        spine.set_color("#444c56")
