"""Label maps and the truth in, scores out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from medseg.discovery.case_lists import is_case_list
from medseg.discovery.cases import Case, label_files, paired_folder
from medseg.discovery.label_words import scan_words
from medseg.discovery.layouts import find_dataset
from medseg.discovery.mask_files import Masks, mask_folders
from medseg.discovery.scan_files import PICTURES, VOLUMES
from medseg.errors import InputError, LabelError
from medseg.metrics import (
    LabelOverlap,
    SurfaceDistance,
    by_region,
    overlap,
    summarise,
    surface_distances,
)
from medseg.metrics.scores import label_names
from medseg.model_package import find_package
from medseg.reading.dicom import rtstruct
from medseg.reading.file_names import without_suffix
from medseg.training import Region, read_label_table, read_meaning, regions_of_classes
from medseg.training.dataset import read_images
from medseg.training.regions import value_table
from medseg.training.truth import OVERLAP, read_truth
from medseg.volume import LabelMap, LabelTable
from medseg.volume.label_table import MEAN
from medseg.workflows.evaluate import alike, with_all_labels
from medseg.workflows.outputs import check_file
from medseg.writing import write_text
from medseg_pipelines.batch.reports.label_maps import is_batch, label_maps
from medseg_pipelines.console import Console

Truth = Path | Masks | Case
Pair = tuple[Truth, Truth]
Regions = Mapping[str, Collection[int]]


def evaluate_maps(
    predictions: Path,
    truth: Path,
    *,
    output: Path,
    table: LabelTable | None = None,
    regions: Sequence[Region] = (),
    tolerance_mm: float | None = None,
    subset: bool = False,
    console: Console,
) -> dict[str, Any]:
    """Score predictions against the truth, case by case and label by label or region by region.

    Parameters
    ----------
    predictions, truth : Path
        Two label maps, or two folders whose files have the same names up to the format's suffix;
        a dataset stands for its folder of label maps. `predictions` may be the output of a batch,
        whose maps are called as their scans.
    output : Path
        JSON file of the scores.
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
    pairs = _pairs(predictions, truth, subset=subset, console=console)
    if regions and table is not None:
        table = value_table(regions, table)
    values = {region.name: region.values for region in regions}
    overlaps: dict[str, dict[str, LabelOverlap]] = {}
    surfaces: dict[str, dict[str, SurfaceDistance]] = {}
    sized = True
    with console.progress("measuring") as progress:
        for number, (case, pair) in enumerate(pairs.items()):
            progress(number, len(pairs), "measuring")
            overlaps[case], surfaces[case], in_mm = _score(case, pair, table, values, tolerance_mm)
            sized &= in_mm
    summary = summarise(overlaps, surfaces if tolerance_mm is not None else None)
    if tolerance_mm is not None:
        summary = {"tolerance_mm": tolerance_mm, **summary}
    if not sized:
        summary["has_physical_size"] = False
    console.show(score_table(summary))
    console.show(mean_table(summary))
    write_text(output, json.dumps(summary, indent=1) + "\n")
    console.print(f"Wrote {output}")
    return summary


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


def mean_table(summary: Mapping[str, Any]) -> Table:
    """Table of every mean, one row for each label, and below a line that over all labels."""
    tolerance = summary.get("tolerance_mm")
    titles = {"dice": "Dice", "iou": "IoU"}
    if tolerance is not None:
        unit = "mm" if summary.get("has_physical_size", True) else "pixels"
        titles |= {"hd95_mm": f"HD95, {unit}", "nsd": f"surface Dice at {tolerance:g} {unit}"}
    table = Table(title="Means")
    table.add_column("label")
    for title in titles.values():
        table.add_column(title, justify="right")
    for name in label_names(summary):
        table.add_row(name, *(_number(summary["mean"][name][key]) for key in titles))
    table.add_section()
    table.add_row("(mean over labels)", *(_number(summary[MEAN][key]) for key in titles))
    return table


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
        defined = [value for value in values if value is not None]
        mean = sum(defined) / len(defined) if defined else None
        table.add_row(row["case"], *(_number(value) for value in (*values, mean)))
    table.add_section()
    means = [*(summary["mean"][name] for name in labels), summary[MEAN]]
    table.add_row("mean", *(_number(mean["dice"]) for mean in means))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _score(
    case: str, pair: Pair, table: LabelTable | None, regions: Regions, tolerance_mm: float | None
) -> tuple[dict[str, LabelOverlap], dict[str, SurfaceDistance], bool]:
    """Overlap and, with a tolerance, surfaces of one case, and whether a voxel's size is known."""
    try:
        prediction, truth = _read(pair, table)
        sized = prediction.provenance.has_physical_size and truth.provenance.has_physical_size
        overlaps = by_region(overlap, prediction, truth, regions)
        if tolerance_mm is None:
            return overlaps, {}, sized
        measure = partial(surface_distances, tolerance_mm=tolerance_mm)
        return overlaps, by_region(measure, prediction, truth, regions), sized
    except InputError as error:
        raise type(error)(f"case '{case}': {error}", code=error.code) from error


def _read(pair: Pair, table: LabelTable | None) -> tuple[LabelMap, LabelMap]:
    """Prediction and truth, alike in what their values mean: names go before numbers."""
    prediction, truth = (_labels(part, table) for part in pair)
    if table is not None:
        return prediction, with_all_labels(truth, prediction)
    return alike(prediction, truth)


def _labels(part: Truth, table: LabelTable | None) -> LabelMap:
    """One of the two, and a warning where masks of it share voxels."""
    labels = _read_part(part, table)
    for note in labels.provenance.notes:
        if note.startswith(OVERLAP):
            warnings.warn(note, stacklevel=2)
    return labels


def _read_part(part: Truth, table: LabelTable | None) -> LabelMap:
    """A label map; of a case of a dataset, on its scan where contours are drawn on that."""
    if not isinstance(part, Case):
        return read_truth(part, table, renames=True)
    drawn = rtstruct.recognises(part.label_files[0])
    scan = read_images(part) if drawn else None
    return read_truth(part.label, table, scan=scan, renames=True)


def _pairs(predictions: Path, truth: Path, *, subset: bool, console: Console) -> dict[str, Pair]:
    """Prediction and truth of every case, by name."""
    for path in (predictions, truth):
        if not path.exists():
            raise InputError(f"there is no '{path}'; check the path")
    truth_is_list = is_case_list(truth)
    if predictions.is_file() and truth.is_file() and not truth_is_list:
        return {without_suffix(truth): (predictions, truth)}
    if predictions.is_file() or (truth.is_file() and not truth_is_list):
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
        console.print(f"Left out, not predicted: {_some(missing)}")
    extra = sorted(set(predicted) - set(true))
    if extra:
        console.print(f"Left out, without a truth: {_some(extra)}")
    return {case: (predicted[case], true[case]) for case in shared}


def _maps(folder: Path) -> dict[str, Truth]:
    """Label maps by stem: of a batch's output, a folder of them, or the cases of a dataset."""
    if is_batch(folder):
        return dict(label_maps(folder))
    pair = paired_folder(folder)
    maps_folder = pair[1] if pair else folder
    maps: dict[str, Truth] = dict(label_files(maps_folder)) if folder.is_dir() else {}
    with_scans = len({scan_words(name) is None for name in maps}) == 2
    if maps and not pair and not with_scans:
        return maps
    try:
        return {case.name: case for case in find_dataset(folder).cases}
    except InputError as error:
        maps = maps or (dict(mask_folders(maps_folder)) if folder.is_dir() else {})
        if maps:
            return maps
        raise InputError(
            f"'{folder}' holds no label maps ({', '.join(VOLUMES + PICTURES)}): {error}",
            code=error.code,
        ) from error


def _some(names: Sequence[str], *, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
