"""Journey: every scan below a folder, with one model; one bad scan does not stop the rest."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from medseg.errors import Cancelled, InputError, MedsegError
from medseg.inference import Predictor
from medseg.measuring import volumes_ml
from medseg.modelpack import find_package
from medseg.planning import Choice
from medseg.reading import Policies, ScanSource, read_scan, survey
from medseg.runtime.progress import Progress
from medseg.volume import Scan
from medseg.writing import write_labels
from medseg_pipelines.destination import check_folder, check_holds_series
from medseg_pipelines.screen import Screen, duration
from medseg_pipelines.summary import Outcome, Status, read_volumes, write_summary

Format = Literal["nifti", "dicom-seg", "nrrd"]
SUFFIX: dict[Format, str] = {"nifti": ".nii.gz", "dicom-seg": ".dcm", "nrrd": ".seg.nrrd"}
SUMMARY = "summary.csv"
_FINE = 100  # steps of the progress bar per scan
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How to go through a folder.

    Parameters
    ----------
    formats : tuple of {"nifti", "dicom-seg", "nrrd"}
        Of the label maps; with several, each has a folder of that name.
    overwrite : bool
        Whether label maps that are there are computed again.
    min_slices : int
        Stacks with fewer slices than this (scouts) are skipped; 1 takes pictures too.
    device : str
        See :func:`medseg.runtime.device.choose_device`.
    refining : tuple of Choice or None
        Steps after the network, in place of the model's own.
    policies : Policies
        What may be repaired in a DICOM series.
    """

    formats: tuple[Format, ...] = ("nifti",)
    overwrite: bool = False
    min_slices: int = 4
    device: str = "auto"
    refining: tuple[Choice, ...] | None = None
    policies: Policies = field(default_factory=Policies)

    def files(self, folder: Path, name: str) -> tuple[Path, ...]:
        """The label maps of a scan called `name`, one for each format."""
        if len(self.formats) == 1:
            return (folder / f"{name}{SUFFIX[self.formats[0]]}",)
        return tuple(folder / form / f"{name}{SUFFIX[form]}" for form in self.formats)


@dataclass(frozen=True)
class _Job:
    """A scan, the name of its results, and the label maps it becomes."""

    source: ScanSource
    name: str
    outputs: tuple[Path, ...]

    def is_done(self) -> bool:
        return all(path.exists() for path in self.outputs)

    def ended(self, status: Status, **more: Any) -> Outcome:
        return Outcome(scan=self.name, series_uid=self.source.series_uid, status=status, **more)


def segment_folder(
    folder: Path,
    *,
    model: str | Path,
    output: Path,
    options: BatchOptions | None = None,
    screen: Screen,
) -> list[Outcome]:
    """Segment every scan below a folder; what is there already is kept.

    Parameters
    ----------
    folder : Path
        Files, DICOM folders and zip archives of DICOM, at any depth; or one such archive.
    model : str or Path
        Name of a shipped model, or its folder.
    output : Path
        Folder for one label map per scan, named as the scan, and ``summary.csv``.
    options : BatchOptions, optional
        Format, overwriting, shortest stack, device.
    screen : Screen
        Told progress and what became of each scan.

    Returns
    -------
    list of Outcome
        One per scan found.

    Raises
    ------
    InputError
        When the folder holds no scan.
    PackageError
        When the model cannot be used.
    WriteError
        When nothing can be written into `output`.
    Cancelled
        When the person stopped it; finished scans stay.
    """
    options = options or BatchOptions()
    start = time.monotonic()
    check_folder(output)
    package = find_package(model)
    jobs = _jobs(folder, output, options, screen)
    predictor = Predictor.load(package, device=options.device, refining=options.refining)
    screen.say(f"Model:  {package.manifest.name}, on {predictor.device.description}")
    screen.say(f"Scans:  {len(jobs)} below {folder}")
    outcomes = _kept(jobs, options, read_volumes(output / SUMMARY))
    todo = [job for job in jobs if job.name not in outcomes]
    try:
        with screen.progress("segmenting") as progress:
            for outcome in _work(todo, predictor, options, progress):
                outcomes[outcome.scan] = outcome
                write_summary(output / SUMMARY, _in_order(jobs, outcomes))
    except Cancelled as stop:
        done = sum(outcome.status in {"done", "kept"} for outcome in outcomes.values())
        raise Cancelled(
            f"{done} of {len(jobs)} label maps are in '{output}'; run the same command again to"
            " continue"
        ) from stop
    ordered = _in_order(jobs, outcomes)
    write_summary(output / SUMMARY, ordered)
    screen.show(outcome_table(ordered))
    screen.say(f"{_counts(ordered)} in {duration(time.monotonic() - start)}; see {output}")
    return ordered


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """Table of what became of each scan."""
    table = Table(title="Scans")
    for title in ("scan", "status", "seconds", "remark"):
        table.add_column(title, justify="right" if title == "seconds" else "left")
    for outcome in outcomes:
        remark = outcome.message or ", ".join(
            f"{name} {ml:.1f} ml" for name, ml in outcome.volumes_ml.items()
        )
        table.add_row(outcome.scan, outcome.status, f"{outcome.seconds:.1f}", remark)
    return table


def _jobs(folder: Path, output: Path, options: BatchOptions, screen: Screen) -> list[_Job]:
    """One job per scan; what is passed over is told."""
    found = survey(folder, pictures=options.min_slices == 1)
    if found.passed_over:
        screen.say(f"Note:   {_passed_over(found.passed_over)}")
    if not found.scans:
        raise InputError(
            f"'{folder}' holds no scan; give a folder with DICOM, NIfTI, NRRD or MHA files"
        )
    return [_Job(one, one.name, options.files(output, one.name)) for one in found.scans]


def _passed_over(paths: Sequence[Path]) -> str:
    """One line about files that were not taken for scans."""
    shown = ", ".join(path.name for path in paths[:_MOST_NAMED])
    rest = len(paths) - _MOST_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return (
        f"passed over {shown}{more}: pictures are taken with --min-slices 1, archives only when"
        " they hold DICOM"
    )


def _kept(
    jobs: Sequence[_Job], options: BatchOptions, before: dict[str, dict[str, float]]
) -> dict[str, Outcome]:
    """Outcomes of the scans whose label maps are there already, by name."""
    if options.overwrite:
        return {}
    return {
        job.name: job.ended("kept", volumes_ml=before.get(job.name, {}))
        for job in jobs
        if job.is_done()
    }


def _in_order(jobs: Sequence[_Job], outcomes: dict[str, Outcome]) -> list[Outcome]:
    return [outcomes[job.name] for job in jobs if job.name in outcomes]


def _work(
    jobs: Sequence[_Job], predictor: Predictor, options: BatchOptions, progress: Progress
) -> Iterator[Outcome]:
    """The outcome of each job; the next scan is read while one is segmented."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="medseg-reading") as pool:
        coming = [pool.submit(_read, job, options.policies) for job in jobs[:1]]
        for number, job in enumerate(jobs):
            scan = coming.pop()
            following = jobs[number + 1 : number + 2]
            coming = [pool.submit(_read, later, options.policies) for later in following]
            share = _Share(progress, number, len(jobs))
            share(0, 1, "")
            yield _one(job, scan, predictor, options, share)


def _read(job: _Job, policies: Policies) -> Scan:
    source = job.source
    scan = read_scan(source.path, series=source.series_uid or None, policies=policies)
    scan.check_finite()
    return scan


def _one(
    job: _Job, coming: Future[Scan], predictor: Predictor, options: BatchOptions, share: _Share
) -> Outcome:
    """Segment one scan, or say why not."""
    start = time.monotonic()
    try:
        scan = coming.result()
        slices = min(scan.grid.shape)
        if slices < options.min_slices:
            few = f"{slices} slice(s), fewer than --min-slices {options.min_slices}"
            return job.ended("skipped", code="FEW_SLICES", message=few)
        volumes = _segment(job, scan, predictor, share)
    except Cancelled:
        raise
    except MedsegError as error:
        code, message = error.code, str(error)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        code, message = type(error).__name__, " ".join(str(error).split())
    else:
        return job.ended("done", seconds=time.monotonic() - start, volumes_ml=volumes)
    return job.ended("failed", seconds=time.monotonic() - start, code=code, message=message)


def _segment(job: _Job, scan: Scan, predictor: Predictor, progress: Progress) -> dict[str, float]:
    """Write the label maps of a scan; their volumes."""
    for path in job.outputs:
        check_holds_series(scan, path)
    labels = predictor.predict(scan, progress=progress)
    for path in job.outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(labels, path)
    return volumes_ml(labels)


@dataclass(frozen=True)
class _Share:
    """One scan's part of the progress of all."""

    whole: Progress
    number: int
    count: int

    def __call__(self, done: int, total: int, message: str, /) -> None:
        """Pass progress on."""
        del message
        part = _FINE * done // max(total, 1)
        self.whole(
            _FINE * self.number + part,
            _FINE * self.count,
            f"scan {self.number + 1} of {self.count}",
        )


def _counts(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(outcome.status for outcome in outcomes)
    return ", ".join(f"{count} {status}" for status, count in counts.items())
