"""Label maps and the truth in, scores out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.errors import InputError, LabelError
from medseg.metrics.evaluation import empty_rules, evaluation_of, measure_case
from medseg.metrics.missing import Missing
from medseg.metrics.scores import Row
from medseg.model_package import find_package
from medseg.planning.regions import Region, regions_of_classes, value_table
from medseg.training import read_label_table, read_meaning
from medseg.volume import LabelTable
from medseg.workflows.outputs import check_file
from medseg.writing import write_text
from medseg_pipelines.console import Console
from medseg_pipelines.evaluate_pairs import find_pairs, patients_in, read_pair
from medseg_pipelines.score_tables import mean_table, score_table


def evaluate_maps(
    predictions: Path,
    truth: Path,
    *,
    output: Path,
    as_csv: Path | None = None,
    table: LabelTable | None = None,
    regions: Sequence[Region] = (),
    tolerance_mm: float | None = None,
    missing: Missing = "undefined",
    subset: bool = False,
    console: Console,
) -> dict[str, Any]:
    """Score predictions against the truth, case by case and label by label or region by region.

    Parameters
    ----------
    predictions, truth : Path
        As :func:`measured_rows` takes them.
    output : Path
        File of the scores: CSV where its name ends so, else JSON.
    as_csv : Path, optional
        A CSV file beside it, one line for each case and label.
    table : LabelTable, optional
    regions : sequence of Region, optional
    tolerance_mm : float, optional
        Score surfaces too, those within this distance counting as equal.
    missing : {"undefined", "worst"}
        What a distance is where a label is missing in one of the maps.
    subset : bool, default False
    console : Console

    Raises
    ------
    MedsegError
        Whatever :func:`measured_rows` raises, and where nothing can be written to the files.
    """
    files = [output] if as_csv is None else [output, as_csv]
    for file in files:
        check_file(file)
    rows = measured_rows(
        predictions,
        truth,
        table=table,
        regions=regions,
        tolerance_mm=tolerance_mm,
        subset=subset,
        console=console,
    )
    evaluation = evaluation_of(rows, tolerance_mm=tolerance_mm, missing=missing)
    console.show(score_table(evaluation))
    console.show(mean_table(evaluation))
    for sentence in empty_rules(evaluation):
        console.print(sentence)
    for file in files:
        is_table = file.suffix.lower() == ".csv" or file is as_csv
        write_text(
            file, csv_of(evaluation) if is_table else json.dumps(evaluation, indent=1) + "\n"
        )
        console.print(f"Wrote {file}")
    return evaluation


def measured_rows(
    predictions: Path,
    truth: Path,
    *,
    table: LabelTable | None = None,
    regions: Sequence[Region] = (),
    tolerance_mm: float | None = None,
    subset: bool = False,
    console: Console,
) -> list[Row]:
    """Measure every case.

    Parameters
    ----------
    predictions, truth : Path
        Two label maps, or two folders whose files have the same names up to the format's suffix;
        a dataset stands for its folder of label maps. `predictions` may be the output of a batch,
        whose maps are called as their scans.
    table : LabelTable, optional
        What the values mean where files do not name them by these names; by default what the
        truth files say. Where both files name their labels, labels of one name are compared.
    regions : sequence of Region, optional
        Score these in place of labels, each with all that lies inside it; needs `table`.
    tolerance_mm : float, optional
        Score surfaces too, those within this distance counting as equal.
    subset : bool, default False
        Whether truth without a prediction is left out in place of being an error.
    console : Console

    Returns
    -------
    list of dict
        As :func:`medseg.metrics.measure_case` gives them.

    Raises
    ------
    InputError
        When cases do not match, naming those that are missing.
    GeometryError
        When a prediction does not lie on the grid of its truth.
    LabelError
        When a value is not in the table.
    """
    pairs = find_pairs(predictions, truth, subset=subset, console=console)
    patients = patients_in(truth, pairs)
    if regions and table is not None:
        table = value_table(regions, table)
    values = {region.name: region.values for region in regions}
    rows = []
    with console.progress("measuring") as progress:
        for number, (case, pair) in enumerate(pairs.items()):
            progress(number, len(pairs), "measuring")
            try:
                prediction, true = read_pair(pair, table)
                row = measure_case(
                    case,
                    prediction,
                    true,
                    regions=values,
                    tolerance_mm=tolerance_mm,
                    sized=all(part.provenance.has_physical_size for part in (prediction, true)),
                    patient=patients.get(case, ""),
                )
            except InputError as error:
                raise type(error)(f"case '{case}': {error}", code=error.code) from error
            rows.append(row)
    return rows


def csv_of(evaluation: dict[str, Any]) -> str:
    """A line for each case and label, and a column for each number; nothing where there is none."""
    rows = [
        {"case": row["case"], "patient": row.get("patient", ""), "label": label, **scores}
        for row in evaluation["cases"]
        for label, scores in row["labels"].items()
    ]
    text = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row) or {"case": None}
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def named_labels(path: Path | None, *, model: str | None = None) -> LabelTable | None:
    """Label table from a JSON file or a model; None when neither is given.

    Parameters
    ----------
    path : Path or None
        ``{"1": "liver"}``, ``{"liver": 1}``, or a ``dataset.json`` with such "labels".
    model : str or None
        Name or folder of a model.

    Raises
    ------
    InputError
        When the file does not hold label names.
    """
    if path is not None:
        return read_label_table(path)
    return find_package(model).manifest.labels if model else None


def named_regions(path: Path | None, *, model: str | None = None) -> tuple[Region, ...]:
    """Regions of a JSON file or a model, whose parts :func:`named_labels` names.

    Parameters
    ----------
    path : Path or None
        A ``dataset.json`` (or the like) with "regions_class_order".
    model : str or None
        Name or folder of a model that was trained on regions.

    Raises
    ------
    InputError
        When neither is given, or what is given has no regions.
    """
    if path is None and model is None:
        raise InputError("--regions needs --labels or --model, which say what the regions are")
    if path is not None:
        regions = read_meaning(path).regions
    else:
        manifest = find_package(str(model)).manifest
        regions = regions_of_classes(manifest.plan.regions, manifest.labels)
    if not regions:
        raise LabelError(
            f"'{path or model}' has no regions, its labels exclude each other; leave --regions out"
        )
    return regions
