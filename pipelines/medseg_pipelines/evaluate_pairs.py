"""Which prediction belongs to which truth, and both read alike."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from medseg.discovery.case_lists import is_case_list
from medseg.discovery.cases import Case, label_files, paired_folder
from medseg.discovery.label_words import scan_words
from medseg.discovery.layouts import find_dataset
from medseg.discovery.mask_files import Masks, mask_folders
from medseg.discovery.scan_files import PICTURES, VOLUMES
from medseg.errors import InputError
from medseg.reading.dicom import rtstruct
from medseg.reading.file_names import without_suffix
from medseg.training.dataset import read_images
from medseg.training.patients import cases_of_patients, names_of_patients, patient_of_case
from medseg.training.truth import OVERLAP, read_truth
from medseg.volume import LabelMap, LabelTable
from medseg.workflows.evaluate import alike, on_one_grid, with_all_labels
from medseg_pipelines.batch.reports.label_maps import is_batch, label_maps
from medseg_pipelines.console import Console

Truth = Path | Masks | Case
Pair = tuple[Truth, Truth]


def read_pair(pair: Pair, table: LabelTable | None) -> tuple[LabelMap, LabelMap]:
    """Prediction and truth, alike in what their values mean: names go before numbers."""
    prediction, truth = (_labels(part, table) for part in pair)
    prediction, truth = on_one_grid(prediction, truth)
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


def find_pairs(
    predictions: Path, truth: Path, *, subset: bool, console: Console
) -> dict[str, Pair]:
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


def patients_in(truth: Path, pairs: dict[str, Pair]) -> dict[str, str]:
    """Whose each case is, by case, for patients who have several; as folds are made."""
    cases = [true for _, true in pairs.values() if isinstance(true, Case)]
    if len(cases) == len(pairs):
        groups = cases_of_patients(truth, cases)
    else:
        groups = names_of_patients(truth, pairs)
    return patient_of_case(groups)


def _some(names: Sequence[str], *, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
