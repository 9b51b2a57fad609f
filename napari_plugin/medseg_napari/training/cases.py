"""From layers to cases of a dataset: what the Train panel's first page runs, without Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.runtime.progress import Progress
from medseg_napari.layers import LayerTuple, adopt, labels_from_layer, scan_from_layer, source_of

if TYPE_CHECKING:
    from medseg.inference import Predictor
    from medseg.training import CaseRecord
    from medseg.training.case_folder import Status
    from medseg.training.dataset_check import DatasetReport
    from medseg.training.run_status import RunStatus
    from medseg.volume import LabelTable

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


@dataclass(frozen=True)
class CaseRow:
    """A case as the table shows it.

    Parameters
    ----------
    name, status : str
    words : str
        What a check found, or ``""``.
    """

    name: str
    status: str
    words: str = ""


def add_case(request: AddRequest, progress: Progress) -> CaseRecord:
    """Write a scan and its labels into a dataset, on the scan's own grid.

    Parameters
    ----------
    request : AddRequest
    progress : Progress
        Called between the steps; raising `medseg.errors.Cancelled` stops before writing.

    Raises
    ------
    MedsegError
        With one sentence; see :meth:`medseg.training.CaseFolder.add`.
    """
    from medseg.training import CaseFolder

    progress(0, 1, "reading the layers")
    scan = scan_from_layer(*request.scan)
    data, attributes = request.labels
    labels = labels_from_layer(data, adopted(data, attributes, request.scan))
    progress(0, 1, "writing the case")
    return CaseFolder(request.folder).add(scan, labels, status=request.status, name=request.name)


def adopted(data: npt.NDArray[Any], attributes: dict[str, Any], scan: Layer) -> dict[str, Any]:
    """Attributes of labels, on the grid of the scan when they were drawn by hand over it."""
    if source_of(data, attributes) is not None:
        return attributes
    return adopt(data, attributes, [scan])


def case_rows(folder: Path) -> list[CaseRow]:
    """The cases of a dataset, by name.

    Raises
    ------
    PlanError
        When the list of cases does not decode.
    """
    from medseg.training import CaseFolder

    return [CaseRow(record.name, record.status) for record in CaseFolder(folder).records()]


def checking(folder: Path, status: Status) -> Callable[[Progress], DatasetReport]:
    """Work that reads every case and tells what is wrong.

    Parameters
    ----------
    folder : Path
    status : {"raw", "draft", "reviewed"}
        Least that a case was checked.

    Returns
    -------
    callable
        Takes a `medseg.runtime.progress.Progress`.
    """

    def work(progress: Progress) -> DatasetReport:
        from medseg.training import open_dataset
        from medseg.training.dataset_check import check_dataset

        return check_dataset(open_dataset(folder, status=status), progress=progress)

    return work


def sanity_words(found: DatasetReport) -> str:
    """What a check found, one line each."""
    lines = [f"{len(found.cases)} cases can be read." if found.trainable else "Not ready to train:"]
    lines += [f"- {finding.severity}: {finding.words}" for finding in found.findings]
    names = dict.fromkeys(name for case in found.cases for name in case.volumes_ml)
    for name in names:
        volumes = [case.volumes_ml.get(name, 0.0) for case in found.cases]
        present = [volume for volume in volumes if volume > 0]
        mean = f", {np.mean(present):.2f} ml on average" if present else ""
        lines.append(f"- {name}: in {len(present)} of {len(found.cases)} cases{mean}")
    return "\n".join(lines)


def held_out_layers(run: Path, number: int, progress: Progress) -> list[LayerTuple]:
    """A held-out case of a run: its scan, its truth, and what the model makes of it by now.

    Parameters
    ----------
    run : Path
        A finished run, or one with a checkpoint: then a network on one thread is told with its
        step, while the run goes on.
    number : int
        Which case, from 0; counted around.
    progress : Progress
        Called per tile; raising `medseg.errors.Cancelled` stops.

    Returns
    -------
    list of tuple
        Data, attributes and layer type, as napari takes them.

    Raises
    ------
    InputError
        When the run holds no case out, does not say what it was trained on, or has no checkpoint.
    """
    from medseg.training import open_dataset
    from medseg.training.run_status import run_status
    from medseg_napari.layers import layer_from_labels, layer_from_scan

    view = run_status(run)
    if view.source is None or view.options.fold is None:
        raise InputError("this run does not say which cases it held out")
    source = view.source
    progress(0, 1, "reading the case")
    dataset = open_dataset(
        source.path,
        splits=source.splits,
        labels=Path(source.labels) if source.labels else None,
        modality=source.modality,
        status=source.status,
    )
    _, held_out = dataset.fold(view.options.fold)
    case = held_out[number % len(held_out)]
    scan, truth = dataset.read(case)
    predictor, made_by = _by_now(view, dataset.labels)
    found = predictor.predict(scan, progress=progress)
    return [
        layer_from_scan(scan, case.name),
        layer_from_labels(truth, f"{case.name}: truth"),
        layer_from_labels(found, f"{case.name}: {made_by}"),
    ]


def _by_now(view: RunStatus, labels: LabelTable) -> tuple[Predictor, str]:
    """The model of a run, finished or as far as it is, and what it is called."""
    from medseg.inference import Predictor
    from medseg.training.snapshot import predictor_of_checkpoint
    from medseg_napari.inference.devices import leave_a_core_free

    leave_a_core_free()
    if view.phase == "finished":
        return Predictor.load(view.folder), "model"
    predictor, step = predictor_of_checkpoint(view.folder, labels)
    return predictor, f"model at step {step}"
