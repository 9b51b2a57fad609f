"""From layers to cases of a dataset: what the Train panel's first page runs, without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.runtime.progress import Progress
from medseg_napari.layers import (
    LayerTuple,
    adopt,
    labels_from_layer,
    scan_from_layer,
    source_of,
    without_place,
)

if TYPE_CHECKING:
    from medseg.inference import Predictor
    from medseg.training import CaseRecord
    from medseg.training.case_folder import Status
    from medseg.training.dataset_check import DatasetReport
    from medseg.training.run_status import RunStatus
    from medseg.volume import LabelTable

TRUTH = ": truth"
Layer = tuple[npt.NDArray[Any], dict[str, Any]]
"""Data and attributes."""


@dataclass(frozen=True)
class AddRequest:
    """One press of Add.

    Parameters
    ----------
    folder : Path
    scan, labels : tuple of array and dict
        Data and attributes of the two layers.
    status : {"raw", "draft", "reviewed"}
        How far the labels were checked.
    name : str
        Of the case; digits of its digest when empty.
    """

    folder: Path
    scan: Layer
    labels: Layer
    status: Status
    name: str = ""


def add_case(request: AddRequest, progress: Progress) -> CaseRecord:
    """Write a scan and its labels into a dataset, on the scan's own grid."""
    from medseg.training import CaseFolder

    progress(0, 1, "reading the layers")
    scan = without_place(scan_from_layer(*request.scan))
    data, attributes = request.labels
    labels = without_place(labels_from_layer(data, adopted(data, attributes, request.scan)))
    progress(0, 1, "writing the case")
    return CaseFolder(request.folder).add(scan, labels, status=request.status, name=request.name)


def adopted(data: npt.NDArray[Any], attributes: dict[str, Any], scan: Layer) -> dict[str, Any]:
    """Attributes of labels, on the grid of the scan when they were drawn by hand over it."""
    if source_of(data, attributes) is not None:
        return attributes
    return adopt(data, attributes, [scan])


def case_rows(folder: Path) -> list[CaseRecord]:
    """The cases of a dataset, by name."""
    from medseg.training import CaseFolder

    return list(CaseFolder(folder).records())


def check_cases(folder: Path, status: Status, progress: Progress) -> DatasetReport:
    """Read every case that is at least of a status, and tell what is wrong."""
    from medseg.training import open_dataset
    from medseg.training.dataset_check import check_dataset

    return check_dataset(open_dataset(folder, status=status), progress=progress)


def report_text(report: DatasetReport) -> str:
    """What a check found, one line each."""
    lines = [
        f"{len(report.cases)} cases can be read." if report.trainable else "Not ready to train:"
    ]
    lines += [f"- {finding.severity}: {finding.message}" for finding in report.findings]
    names = dict.fromkeys(name for case in report.cases for name in case.volumes_ml)
    for name in names:
        volumes = [case.volumes_ml.get(name, 0.0) for case in report.cases]
        present = [volume for volume in volumes if volume > 0]
        mean = f", {np.mean(present):.2f} ml on average" if present else ""
        lines.append(f"- {name}: in {len(present)} of {len(report.cases)} cases{mean}")
    return "\n".join(lines)


def held_out_layers(run: Path, number: int, progress: Progress) -> list[LayerTuple]:
    """A held-out case of a run: its scan, its truth, and what the model makes of it by now.

    Parameters
    ----------
    run : Path
        A finished run, or one with a checkpoint: then the last layer is named after its step.
    number : int
        Which case, from 0; counted around.
    progress : Progress
        Called per tile; raising `medseg.errors.Cancelled` stops.

    Raises
    ------
    InputError
        When the run holds no case out, does not say what it was trained on, or has no checkpoint.
    """
    from medseg.training import open_dataset
    from medseg.training.run_status import run_status
    from medseg_napari.layers import layer_from_labels, layer_from_scan

    run_state = run_status(run)
    if run_state.source is None or run_state.options.fold is None:
        raise InputError("this run does not say which cases it held out")
    source = run_state.source
    progress(0, 1, "reading the case")
    dataset = open_dataset(
        source.path,
        splits=source.splits,
        labels=Path(source.labels) if source.labels else None,
        modality=source.modality,
        status=source.status,
    )
    _, held_out = dataset.fold(run_state.options.fold)
    case = held_out[number % len(held_out)]
    scan, truth = dataset.read(case)
    predictor, made_by = _current_predictor(run_state, dataset.labels)
    prediction = predictor.predict(scan, progress=progress)
    return [
        layer_from_scan(scan, case.name),
        layer_from_labels(truth, f"{case.name}{TRUTH}"),
        layer_from_labels(prediction, f"{case.name}: {made_by}"),
    ]


def _current_predictor(run_state: RunStatus, labels: LabelTable) -> tuple[Predictor, str]:
    """The model of a run, finished or as far as it is, and what it is called."""
    from medseg.inference import Predictor
    from medseg.training.snapshot import predictor_of_checkpoint
    from medseg_napari.inference.devices import leave_a_core_free

    leave_a_core_free()
    if run_state.phase == "finished":
        return Predictor.load(run_state.folder), "model"
    predictor, step = predictor_of_checkpoint(run_state.folder, labels)
    return predictor, f"model at step {step}"
