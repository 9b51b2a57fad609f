"""The main job end to end on made-up patients; no download, GPU or display needed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import Cancelled, InputError
from medseg.phantoms.abdomen import ABDOMEN_LABELS
from medseg.phantoms.dicom_archive import ArchivedSeries, demo_patients, write_archive
from medseg.reading import read_labels, read_scan
from medseg.training import TrainingOptions, open_dataset
from medseg.training.history import read_history
from medseg.volume.label_table import MEAN
from medseg.workflows.outputs import check_folder
from medseg.writing import write_labels, write_text
from medseg_pipelines.batch.archive_run import segment_archive
from medseg_pipelines.batch.ledger.ledger import Ledger
from medseg_pipelines.batch.ledger.provenance import read_record
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.result_files import FILES
from medseg_pipelines.console import Console, duration
from medseg_pipelines.demo_training import (
    STEP_LIMIT,
    demo_options,
    make_dataset,
    make_demo_plan,
    until_enough,
)
from medseg_pipelines.evaluate import evaluate_maps
from medseg_pipelines.report import Report, ReportCase, write_report
from medseg_pipelines.train import train_on
from medseg_pipelines.view import show_in_napari, unavailable_reason

EXPECTED_DICE = 0.90
"""Mean over the organs and the held-out patients, which only the end looks at."""
PATIENTS = 19
HELD_OUT = 3
_MARK = "MADE-BY-MEDSEG-DEMO.txt"


@dataclass(frozen=True)
class Segmented:
    """A held-out series and what was found in it.

    Parameters
    ----------
    name : str
        Of the patient, with a number where there are several series.
    series : ArchivedSeries
    labels : Path
        The label map that was found.
    seconds : float
    """

    name: str
    series: ArchivedSeries
    labels: Path
    seconds: float


@dataclass(frozen=True)
class DemoPaths:
    """Where the demo keeps what it makes."""

    root: Path

    @property
    def archive(self) -> Path:
        """DICOM series of every patient."""
        return self.root / "archive"

    @property
    def dataset(self) -> Path:
        """Images and labels to train on, as NIfTI."""
        return self.root / "dataset"

    @property
    def run(self) -> Path:
        """The training run; its model package is in model/."""
        return self.root / "run"

    @property
    def results(self) -> Path:
        """Label maps of the held-out patients."""
        return self.root / "results"

    @property
    def compared(self) -> Path:
        """The label maps among them whose truth is known, by the names of the truth."""
        return self.root / "compared"

    @property
    def truth(self) -> Path:
        """Their truth."""
        return self.root / "truth"

    @property
    def scores(self) -> Path:
        """The evaluation."""
        return self.root / "scores.json"

    @property
    def report(self) -> Path:
        """The report to open."""
        return self.root / "report.html"

    def by_name(self) -> dict[str, Path]:
        """All places for a person."""
        return {
            "report": self.report,
            "label maps": self.results,
            "report of the batch": self.results / "report.html",
            "table of the batch": self.results / "summary.csv",
            "scores": self.scores,
            "model": self.run / "model",
            "training run": self.run,
            "DICOM archive": self.archive,
            "training data": self.dataset,
            "truth of the held-out": self.truth,
        }


def run_demo(
    output: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    view: bool = True,
    device: str = "auto",
    console: Console,
) -> bool:
    """Make an archive, train on some patients, segment the others, evaluate and report.

    The training ends when the network is good, however slow the machine: see `ENOUGH_DICE`.

    Parameters
    ----------
    output : Path
        Folder for everything; an earlier demo in it is replaced.
    steps : int, optional
        Most steps of training; `STEP_LIMIT` when not given.
    seed : int, default 0
        Of the training; the patients are always the same.
    view : bool, default True
        Whether to open napari at the end when there is a display.
    device : str, default "auto"
    console : Console

    Returns
    -------
    bool
        Whether every held-out series was segmented, and the mean Dice is at least `EXPECTED_DICE`.

    Raises
    ------
    InputError
        When `output` holds something else.
    Cancelled
        When the person stopped it.
    """
    start = time.monotonic()
    paths = DemoPaths(output)
    _clear(paths)
    options = demo_options(steps=steps, seed=seed, device=device)
    try:
        segmented, scores, succeeded = _work(paths, options, console)
    except Cancelled as stop:
        raise Cancelled(
            f"what is finished is in '{output}'; run the demo again to start over"
        ) from stop
    _print_summary(paths, scores, time.monotonic() - start, console)
    if view:
        _view(segmented, console)
    return succeeded and _dice(scores) >= EXPECTED_DICE


def _work(
    paths: DemoPaths, options: TrainingOptions, console: Console
) -> tuple[list[Segmented], dict[str, Any], bool]:
    """Archive, training, segmentation, evaluation, report; whether nothing failed."""
    patients = demo_patients(PATIENTS)
    console.print(f"1. A DICOM archive of {len(patients)} made-up CT patients", style="bold")
    with console.progress("writing the archive") as progress:
        training_series = write_archive(
            paths.archive / "training", patients[:-HELD_OUT], progress=progress
        )
        held_out = write_archive(
            paths.archive / "held-out", patients[-HELD_OUT:], progress=progress
        )
    console.print(f"2. Training on {len(training_series)} of them", style="bold")
    make_dataset(paths.dataset, training_series, console)
    data = open_dataset(paths.dataset, labels=ABDOMEN_LABELS)
    package = train_on(
        data,
        run=paths.run,
        options=options,
        plan=make_demo_plan(data, options),
        callbacks=[until_enough(console)],
        console=console,
    )
    console.print("3. Segmenting the DICOM folder of the held-out patients", style="bold")
    settings = Settings(formats=("nifti", "dicom-seg", "preview"))
    succeeded = segment_archive(
        paths.archive / "held-out",
        model=package.folder,
        output=paths.results,
        options=BatchOptions(settings=settings, device=options.device),
        console=console,
    )
    console.print("4. Comparing with the truth", style="bold")
    segmented = _collect(paths, held_out)
    scores = evaluate_maps(
        paths.compared, paths.truth, output=paths.scores, table=ABDOMEN_LABELS, console=console
    )
    console.print("5. Report", style="bold")
    _report(paths, segmented, scores)
    return segmented, scores, succeeded


def _collect(paths: DemoPaths, series: Sequence[ArchivedSeries]) -> list[Segmented]:
    """What was found in the series, laid beside the truth under the same names."""
    for folder in (paths.compared, paths.truth):
        folder.mkdir(parents=True, exist_ok=True)
    by_uid = {
        archived.series_uid: (f"{archived.patient}-{number}", archived)
        for number, archived in enumerate(series, start=1)
    }
    segmented = []
    with Ledger.of(paths.results) as ledger:
        rows = ledger.rows(states=["done"])
    for row in rows:
        folder = paths.results / row.folder
        record = read_record(folder)
        if record is None or record.source.series not in by_uid:
            continue
        name, archived = by_uid[record.source.series]
        labels = folder / FILES["nifti"]
        shutil.copyfile(labels, paths.compared / f"{name}.nii.gz")
        write_labels(archived.truth, paths.truth / f"{name}.nii.gz")
        segmented.append(Segmented(name, archived, labels, sum(row.seconds.values())))
    return segmented


def _clear(paths: DemoPaths) -> None:
    """Make the folder; an earlier demo in it is removed, anything else is refused."""
    root = paths.root
    check_folder(root)
    if root.exists() and any(root.iterdir()):
        if not (root / _MARK).is_file():
            raise InputError(
                f"'{root}' is not empty and was not made by the demo; choose another --output"
            )
        shutil.rmtree(root)
    write_text(root / _MARK, "Everything in this folder was made by `medseg demo`.\n")


def _report(paths: DemoPaths, segmented: Sequence[Segmented], scores: Mapping[str, Any]) -> None:
    cases = []
    for case in segmented:
        scan = read_scan(case.series.folder, series=case.series.series_uid)
        labels = read_labels(case.labels, table=ABDOMEN_LABELS)
        cases.append(ReportCase(case.name, scan, labels, case.series.truth))
    history = read_history(paths.run)
    facts = {
        "patients": f"{PATIENTS} phantoms, {HELD_OUT} of them never seen in training",
        "network": "3-D U-Net, Dice and cross-entropy loss",
        "training": f"{history[-1]['step']} steps in {duration(history[-1]['seconds'])}",
        "segmentation": ", ".join(f"{case.name} {case.seconds:.1f} s" for case in segmented),
    }
    report = Report(
        title="medseg demo: abdominal organs in CT",
        verdict=_verdict(paths, scores),
        cases=cases,
        scores=scores,
        history=history,
        facts=facts,
        places={name: path for name, path in paths.by_name().items() if path != paths.report},
    )
    write_report(report, paths.report)


def _dice(scores: Mapping[str, Any]) -> float:
    return float(scores[MEAN]["dice"] or 0.0)


def _verdict(paths: DemoPaths, scores: Mapping[str, Any]) -> str:
    dice = _dice(scores)
    measured = f"Mean Dice of the held-out patients: {dice:.3f}"
    if dice >= EXPECTED_DICE:
        return f"{measured} (at least {EXPECTED_DICE:.2f} expected)."
    steps = read_history(paths.run)[-1]["step"]
    return (
        f"{measured}, BELOW the {EXPECTED_DICE:.2f} expected, after {steps} steps; run it again"
        f" with --steps {max(2 * steps, STEP_LIMIT)}, or another --seed."
    )


def _print_summary(
    paths: DemoPaths, scores: Mapping[str, Any], seconds: float, console: Console
) -> None:
    console.print("")
    console.print(_verdict(paths, scores), style="bold")
    console.print(f"All of it took {duration(seconds)} and is here:")
    for name, path in paths.by_name().items():
        console.print(f"  {name + ':':24} {path}")


def _view(segmented: Sequence[Segmented], console: Console) -> None:
    """Open one result in napari, or say in one line why not."""
    obstacle = unavailable_reason() or ("" if segmented else "nothing was segmented")
    if obstacle:
        console.print(f"napari was not opened: {obstacle}.")
        return
    first = segmented[0]
    console.print(f"Opening {first.name} in napari; close its window to end the demo.")
    if not show_in_napari([first.series.folder, first.labels]):
        console.print("napari could not show it here; the report does.")
