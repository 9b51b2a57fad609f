"""Scores as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from medseg.metrics.measures import MEASURES
from medseg.metrics.scores import label_names, mean
from medseg.volume.label_table import MEAN


def mean_table(evaluation: Mapping[str, Any]) -> Table:
    """Table of every mean with its interval and its counts of cases; last that over all labels."""
    table = Table(title=f"Means with {interval_words(evaluation)}")
    table.add_column("label")
    table.add_column("measure")
    for heading in ("mean", "95 % interval", "n", "undefined", "empty"):
        table.add_column(heading, justify="right")
    for name in (*label_names(evaluation), MEAN):
        table.add_section()
        for key, statistic in evaluation["statistics"][name].items():
            low, high = (number_of(statistic[end], key) for end in ("low", "high"))
            table.add_row(
                "(mean over labels)" if name == MEAN else name,
                title_of(key, evaluation),
                number_of(statistic["mean"], key),
                "-" if statistic["low"] is None else f"{low} to {high}",
                *(str(statistic[count]) for count in ("n", "undefined", "empty")),
            )
    return table


def interval_words(evaluation: Mapping[str, Any]) -> str:
    """How the intervals were made, such as "95 % intervals (10000 draws of 12 cases...)"."""
    made = evaluation["intervals"]
    return (
        f"{made['confidence']:.0%} intervals ({made['method']}, {made['draws']} draws of"
        f" {made['units']} {made['resampled']}, seed {made['seed']})"
    ).replace("%", " %", 1)


def title_of(key: str, evaluation: Mapping[str, Any]) -> str:
    """A measure and its unit, of the surface Dice with its tolerance."""
    title = MEASURES[key].title
    tolerance = evaluation.get("tolerance_mm")
    if key != "nsd" or tolerance is None:
        return title
    unit = "mm" if evaluation.get("has_physical_size", True) else "pixels"
    return f"{title} at {tolerance:g} {unit}"


def statistic_words(statistic: Mapping[str, Any], key: str, *, counts: bool = True) -> str:
    """A mean, its interval, and how many cases it is of: "0.912 (0.889 to 0.931) n=12"."""
    number = number_of(statistic["mean"], key)
    if statistic["low"] is not None:
        low, high = (number_of(statistic[end], key) for end in ("low", "high"))
        number += f" ({low} to {high})"
    if not counts:
        return number
    undefined = f", {statistic['undefined']} undefined" if statistic["undefined"] else ""
    return f"{number} n={statistic['n']}{undefined}"


def number_of(value: float | None, key: str) -> str:
    """A value with the decimals of its measure."""
    return "-" if value is None else f"{value:.{MEASURES[key].decimals}f}"


def score_table(summary: Mapping[str, Any]) -> Table:
    """Table of the Dice of every case and label, with means."""
    table = Table(title="Dice")
    table.add_column("case")
    labels = label_names(summary)
    for name in labels:
        table.add_column(name, justify="right")
    table.add_column("mean", justify="right")
    for row in summary["cases"]:
        values = [row["labels"].get(name, {}).get("dice") for name in labels]
        table.add_row(row["case"], *(number_of(value, "dice") for value in (*values, mean(values))))
    table.add_section()
    means = [*(summary["mean"][name] for name in labels), summary[MEAN]]
    table.add_row("mean", *(number_of(row["dice"], "dice") for row in means))
    return table
