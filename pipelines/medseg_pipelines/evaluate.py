"""Journey: label maps and the truth in, scores out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from medseg.errors import InputError
from medseg.measuring import LabelOverlap, overlap, summarise
from medseg.modelpack import find_package
from medseg.reading import read_labels
from medseg.training import read_label_table
from medseg.volume import LabelMap, LabelTable
from medseg_pipelines.destination import LABEL_SUFFIXES, check_file, stem, write_text
from medseg_pipelines.screen import Screen

Pair = tuple[Path, Path]


def evaluate_maps(
    predictions: Path,
    truth: Path,
    *,
    output: Path,
    table: LabelTable | None = None,
    subset: bool = False,
    screen: Screen,
) -> dict[str, Any]:
    """Score predictions against the truth, case by case and label by label.

    Parameters
    ----------
    predictions, truth : Path
        Two label maps, or two folders whose files have the same names up to the format's suffix.
    output : Path
        JSON file of the scores.
    table : LabelTable, optional
        What the values mean; by default what the truth files say.
    subset : bool, default False
        Whether truth without a prediction is left out in place of being an error.
    screen : Screen
        Shown the scores.

    Returns
    -------
    dict
        What was written; see :func:`medseg.measuring.summarise`.

    Raises
    ------
    InputError
        When cases do not match, naming those that are missing.
    GeometryError
        When a prediction does not lie on the grid of its truth.
    LabelError
        When a value is not in the table.
    """
    check_file(output)
    pairs = _pairs(predictions, truth, subset=subset, screen=screen)
    scores: dict[str, dict[str, LabelOverlap]] = {}
    with screen.progress("measuring") as progress:
        for number, (case, pair) in enumerate(pairs.items()):
            progress(number, len(pairs), "measuring")
            scores[case] = _score(case, pair, table)
    summary = summarise(scores)
    screen.show(score_table(summary))
    write_text(output, json.dumps(summary, indent=1) + "\n")
    screen.say(f"Wrote {output}")
    return summary


def named_labels(path: Path | None, *, model: str | None = None) -> LabelTable | None:
    """Label table from a JSON file or a model; None when neither is given.

    Parameters
    ----------
    path : Path or None
        ``{"1": "liver"}``, ``{"liver": 1}``, or a ``dataset.json`` with such "labels".
    model : str or None
        Name or folder of a model.

    Returns
    -------
    LabelTable or None

    Raises
    ------
    InputError
        When the file does not hold label names.
    """
    if path is not None:
        return read_label_table(path)
    return find_package(model).manifest.labels if model else None


def score_table(summary: Mapping[str, Any]) -> Table:
    """Table of the Dice of every case and label, with means."""
    table = Table(title="Dice")
    table.add_column("case")
    labels = [name for name in summary["mean"] if name != "foreground"]
    for name in labels:
        table.add_column(name, justify="right")
    table.add_column("mean", justify="right")
    for row in summary["cases"]:
        values = [row["labels"].get(name, {}).get("dice") for name in labels]
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if known else None
        table.add_row(row["case"], *(_number(value) for value in (*values, mean)))
    table.add_section()
    means = [summary["mean"][name]["dice"] for name in (*labels, "foreground")]
    table.add_row("mean", *(_number(value) for value in means))
    return table


def _entry(key: str, value: Any) -> tuple[int, str]:
    return (int(key), str(value)) if key.isdecimal() else (int(value), key)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _score(case: str, pair: Pair, table: LabelTable | None) -> dict[str, LabelOverlap]:
    """Overlap of one case; an error names the case."""
    try:
        prediction, truth = (read_labels(path, table=table) for path in pair)
        return overlap(prediction, _with_all_labels(truth, prediction))
    except InputError as error:
        raise type(error)(f"case '{case}': {error}", code=error.code) from error


def _with_all_labels(truth: LabelMap, prediction: LabelMap) -> LabelMap:
    """The truth with a table that also knows labels which only the prediction holds."""
    known = set(truth.table.values)
    extra = [label for label in prediction.table if label.value not in known]
    if not extra:
        return truth
    rows = sorted([*truth.table, *extra], key=lambda label: label.value)
    return replace(truth, table=LabelTable(tuple(rows)))


def _pairs(predictions: Path, truth: Path, *, subset: bool, screen: Screen) -> dict[str, Pair]:
    """Prediction and truth of every case, by name."""
    for path in (predictions, truth):
        if not path.exists():
            raise InputError(f"there is no '{path}'; check the path")
    if predictions.is_file() and truth.is_file():
        return {stem(truth): (predictions, truth)}
    if predictions.is_file() or truth.is_file():
        raise InputError(
            f"'{predictions.name}' and '{truth.name}' must both be files or both be folders"
        )
    predicted, true = _maps(predictions), _maps(truth)
    missing = sorted(set(true) - set(predicted))
    shared = sorted(set(true) & set(predicted))
    if not shared or (missing and not subset):
        raise InputError(
            f"{len(missing)} of {len(true)} truth maps have no prediction in '{predictions}':"
            f" {_some(missing)}; predict them, or add --subset to leave them out",
            code="MISSING_PREDICTION",
        )
    if missing:
        screen.say(f"Left out, not predicted: {_some(missing)}")
    extra = sorted(set(predicted) - set(true))
    if extra:
        screen.say(f"Left out, without a truth: {_some(extra)}")
    return {case: (predicted[case], true[case]) for case in shared}


def _maps(folder: Path) -> dict[str, Path]:
    """Label maps of a folder by stem."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    maps = {stem(path): path for path in files if path.name.lower().endswith(LABEL_SUFFIXES)}
    if not maps:
        raise InputError(f"'{folder}' holds no label maps ({', '.join(LABEL_SUFFIXES)})")
    return maps


def _some(names: Sequence[str], *, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
