"""Every scan of an archive with one model; nothing lost, nothing done twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.discovery.label_places import is_label_map
from medseg.errors import Cancelled, InputError, ReadError
from medseg.model_package import find_package
from medseg.workflows.outputs import check_folder
from medseg_pipelines.batch.archive.case_keys import is_anonymous
from medseg_pipelines.batch.archive.channels import as_cases
from medseg_pipelines.batch.archive.result_names import mirrored
from medseg_pipelines.batch.archive.rules import select
from medseg_pipelines.batch.archive.search import search
from medseg_pipelines.batch.events import Events, Planned, Tally
from medseg_pipelines.batch.ledger.enqueue import (
    FEW_SLICES,
    JudgedScan,
    Queue,
    Verdict,
    once_each,
    planned,
    slot,
)
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, RunConfig
from medseg_pipelines.batch.ledger.run_lock import run_lock
from medseg_pipelines.batch.ledger.storage_errors import as_write_error
from medseg_pipelines.batch.loop import Job, Loop
from medseg_pipelines.batch.messages import Fault, ScanRecord
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.result_files import FILES
from medseg_pipelines.batch.workers.formats import check_settings, policies_of

_NO_SCANS = "NO_SCANS"
_LABEL_MAP = (
    "it is the label map of a scan, as its ending .seg.nrrd or its folder of labels beside one of"
    " images says; move it elsewhere if it is a scan"
)


def run_batch(
    root: Path,
    *,
    model: str | Path,
    output: Path,
    options: BatchOptions | None = None,
    events: Events | None = None,
) -> Tally:
    """Segment every scan below a folder; what is done already is left alone.

    `model` is the name of a shipped one or a folder; `output` gets the results, in the order and
    under the names of the archive, and the ledger. One run works on an output at a time, or one for
    each share of ``options.shard``; a dry run writes nothing. Raises `InputError`, `PackageError`,
    `WriteError` for what cannot be used or written, `Cancelled` when stopped: cases in flight wait
    again.
    """
    start = time.monotonic()
    job, events = _job(root, model, output, options), events or Events()
    if job.options.dry_run:
        plan = planned(plan_batch(root, model=model, output=output, options=options, events=events))
        events.planned(plan)
        return Tally(planned=plan, left=plan.todo, seconds=time.monotonic() - start)
    with _opened(job) as ledger:
        loop = Loop(job, ledger, events)
        try:
            loop.recover()
            plan = planned(_queue(job, ledger).enqueue(_scans(root, job, ledger, events)))
            _check_any(root, plan, job, ledger)
            events.planned(plan)
            loop.work()
        except Cancelled as stop:
            raise Cancelled(_how_to_continue(job, ledger)) from stop
        finally:
            loop.close()
        counts = ledger.counts(run_config=job.run_config)
    tally = Tally(
        planned=plan,
        done=loop.settled["done"],
        refused=loop.settled["refused"],
        failed=loop.settled["failed"],
        left=counts["waiting"] + counts["leased"],
        codes=dict(loop.codes.most_common()),
        seconds=time.monotonic() - start,
    )
    events.finished(tally)
    return tally


def plan_batch(
    root: Path,
    *,
    model: str | Path,
    output: Path,
    options: BatchOptions | None = None,
    events: Events | None = None,
) -> list[Verdict]:
    """What :func:`run_batch` would do with each scan, and why not; nothing is written."""
    job = _job(root, model, output, options)
    path = job.places.ledger
    with Ledger(path) if path.is_file() else Ledger(Path(":memory:")) as ledger:
        scans = _scans(root, job, ledger, events or Events())
        verdicts = _queue(job, ledger).preview(scans)
        _check_any(root, planned(verdicts), job, ledger)
    return verdicts


def _job(root: Path, model: str | Path, output: Path, options: BatchOptions | None) -> Job:
    """What is to be done, after a look at whether it can be."""
    options = options or BatchOptions()
    check_settings(options.settings)
    if not root.exists():
        raise ReadError(f"'{root}' does not exist; check the path", code="NOT_FOUND")
    k, n = options.shard
    if not 1 <= k <= n:
        raise InputError(f"there is no share {k} of {n}; they are numbered from 1", code="SHARD")
    package = find_package(model)
    if not options.dry_run:
        check_folder(output)
    run_config = RunConfig.of(package, options.settings)
    return Job(Places(output.absolute()), package, run_config, options)


@contextmanager
def _opened(job: Job) -> Iterator[Ledger]:
    """The ledger of an output; where an archive turns out to be empty, no new output is left."""
    places, was_there = job.places, job.places.output.exists()
    with as_write_error(places.output):
        places.own.mkdir(mode=0o700, parents=True, exist_ok=True)  # paths may name patients
        places.staging.mkdir(exist_ok=True)
    try:
        with run_lock(places, job.options.shard), Ledger(places.ledger) as ledger:
            yield ledger
    except InputError as error:
        if error.code == _NO_SCANS and not was_there:
            shutil.rmtree(places.own, ignore_errors=True)
            with suppress(OSError):
                places.output.rmdir()
        raise


def _scans(root: Path, job: Job, ledger: Ledger, events: Events) -> list[JudgedScan]:
    """The scans of our share, each with why it is not wanted."""
    options, places = job.options, job.places

    def progress(done: int, total: int, _message: str, /) -> None:
        events.searching(done, total)
        events.check()

    scans = search(
        root,
        places.index if places.own.is_dir() else None,
        pictures=options.min_slices == 1,
        rules=options.rules,
        progress=progress,
    )
    scans = as_cases(scans, job.package.manifest.plan.channels, root)
    scans = _in_places(scans, root, job, ledger)
    k, n = options.shard
    judged = once_each((scan, _fault(scan, options)) for scan in scans)
    return [(scan, fault) for scan, fault in judged if slot(scan) % n == k - 1]


def _in_places(scans: list[ScanRecord], root: Path, job: Job, ledger: Ledger) -> list[ScanRecord]:
    """Scans with the places of their results: as the output was begun, its names go on."""
    given, options = ledger.places(), job.options
    anonymous = options.anonymous_names or options.settings.deidentify
    begun = next((is_anonymous(folder) for folder in given.values()), anonymous)
    if anonymous and not begun:
        raise InputError(
            f"results in '{job.places.output}' are called as their scans are; give another --output"
            " for anonymous names",
            code="NAMES",
        )
    return scans if begun else mirrored(scans, root, given)


def _fault(scan: ScanRecord, options: BatchOptions) -> Fault | None:
    """Why a scan is not to be tried, as far as its headers and its place tell."""
    if is_label_map(Path(scan.path)):
        return Fault(code="LABEL_MAP", message=_LABEL_MAP)
    slices = scan.facts.get("slices")
    if isinstance(slices, int) and slices < options.min_slices:
        few = f"{slices} slice(s), fewer than --min-slices {options.min_slices}"
        return Fault(code=FEW_SLICES, message=few)
    if scan.fault and not policies_of(options.settings).allows(scan.fault.code):
        return scan.fault
    return select(scan, options.rules) if options.rules else None


def _queue(job: Job, ledger: Ledger) -> Queue:
    names = [FILES[form] for form in job.options.settings.formats]
    return Queue(
        ledger=ledger,
        run_config=job.run_config,
        min_slices=job.options.min_slices,
        anew=job.options.only == "all",
        in_place=lambda folder: job.places.has_results(folder, *names),
    )


def _check_any(root: Path, plan: Planned, job: Job, ledger: Ledger) -> None:
    """Raise when there is nothing at all, and never was; a share may be empty."""
    if plan.scans or job.options.shard[1] > 1 or any(ledger.counts().values()):
        return
    raise InputError(
        f"'{root}' holds no scan; give a folder with DICOM, NIfTI, NRRD or MHA files, or zip"
        " archives of DICOM (pictures are taken with --min-slices 1)",
        code=_NO_SCANS,
    )


def _how_to_continue(job: Job, ledger: Ledger) -> str:
    counts = ledger.counts(run_config=job.run_config)
    settled = counts["done"] + counts["refused"] + counts["failed"]
    return (
        f"{settled} of {sum(counts.values())} cases are settled in '{job.places.output}'; run the"
        " same command again to continue"
    )
