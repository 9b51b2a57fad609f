"""The figure of a shipped model's card: Dice of every held-out case; it shows no scan."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def dice_figure(dice: dict[str, dict[str, float]]) -> bytes:
    """A curve for each label, its cases from the worst to the best, as PNG.

    Parameters
    ----------
    dice : dict of str to dict of str to float
        By label and case.
    """
    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, values in dice.items():
        shares = [100 * (n + 0.5) / len(values) for n in range(len(values))]
        axes.plot(shares, sorted(values.values()), label=label)
    axes.set(xlabel="held-out cases, %, from the worst", ylabel="Dice", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    stream = io.BytesIO()
    figure.savefig(stream, dpi=80)
    return stream.getvalue()
