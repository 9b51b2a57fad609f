"""Journey: every scan of an archive with one model; nothing lost, nothing done twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import Cancelled, InputError, ReadError
from medseg.model_package import find_package
from medseg.workflows.outputs import check_folder
from medseg_pipelines.batch.archive.rules import select
from medseg_pipelines.batch.archive.search import search
from medseg_pipelines.batch.events import Events, NullEvents, Planned, Tally
from medseg_pipelines.batch.ledger.enqueue import (
    FEW_SLICES,
    Queue,
    Verdict,
    once_each,
    planned,
    slot,
)
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger
from medseg_pipelines.batch.ledger.os_errors import trouble_told
from medseg_pipelines.batch.ledger.run_config import recipe_of
from medseg_pipelines.batch.loop import Job, Loop
from medseg_pipelines.batch.messages import Fault, ScanRecord
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.workers.formats import check_settings, policies_of

_NO_SCANS = "NO_SCANS"


def run_batch(
    root: Path,
    *,
    model: str | Path,
    output: Path,
    options: BatchOptions | None = None,
    events: Events | None = None,
) -> Tally:
    """Segment every scan below a folder; what is done already is left alone.

    Several runs may work on one output at once; each takes what no other has in hand.

    Parameters
    ----------
    root : Path
        Files, DICOM folders and zip archives of DICOM, at any depth.
    model : str or Path
        Name of a shipped model, or its folder.
    output : Path
        Folder for results, by patient, study and series, and for the ledger.
    options : BatchOptions, optional
        What is wanted, how and by whom.
    events : Events, optional
        Told what happens, and asked whether to stop.

    Returns
    -------
    Tally
        What the run came to. A dry run is over after planning and writes nothing.

    Raises
    ------
    InputError
        When the archive holds no scan, or an option does not fit.
    PackageError
        When the model cannot be used.
    WriteError
        When nothing can be written into `output`, or its disk stays full.
    Cancelled
        When the run was stopped; finished cases stay, and cases in hand wait again.
    """
    start = time.monotonic()
    job, events = _job(root, model, output, options), events or NullEvents()
    if job.options.dry_run:
        plan = planned(plan_batch(root, model=model, output=output, options=options, events=events))
        events.planned(plan)
        return Tally(planned=plan, left=plan.todo, seconds=time.monotonic() - start)
    with _opened(job.places) as ledger:
        loop = Loop(job, ledger, events)
        try:
            loop.repair()
            plan = planned(_queue(job, ledger).enqueue(_scans(root, job, events)))
            _check_any(root, plan, job, ledger)
            events.planned(plan)
            loop.work()
        except Cancelled as stop:
            raise Cancelled(_how_to_continue(job, ledger)) from stop
        finally:
            loop.close()
        counts = ledger.counts(recipe=job.recipe)
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
    """What a run would do with each scan, and why not; nothing is written.

    Parameters
    ----------
    root : Path
        As for :func:`run_batch`, and so are the others.
    model : str or Path
        Name of a shipped model, or its folder.
    output : Path
        Folder whose ledger is asked, if it has one.
    options : BatchOptions, optional
    events : Events, optional
        Told how the search goes.

    Returns
    -------
    list of Verdict
        In the order of the scans.

    Raises
    ------
    InputError
        When the archive holds no scan, or an option does not fit.
    PackageError
        When the model cannot be used.
    """
    job = _job(root, model, output, options)
    scans = _scans(root, job, events or NullEvents())
    path = job.places.ledger
    with Ledger(path) if path.is_file() else Ledger.empty() as ledger:
        verdicts = _queue(job, ledger).preview(scans)
        _check_any(root, planned(verdicts), job, ledger)
    return verdicts


def _job(root: Path, model: str | Path, output: Path, options: BatchOptions | None) -> Job:
    """What is to be done, after a look at whether it can be."""
    chosen = options or BatchOptions()
    check_settings(chosen.settings)
    if not root.exists():
        raise ReadError(f"'{root}' does not exist; check the path", code="NOT_FOUND")
    k, n = chosen.shard or (1, 1)
    if not 1 <= k <= n:
        raise InputError(f"there is no share {k} of {n}; they are numbered from 1", code="SHARD")
    package = find_package(model)
    if not chosen.dry_run:
        check_folder(output)
    return Job(Places(output.absolute()), package, recipe_of(package, chosen.settings), chosen)


@contextmanager
def _opened(places: Places) -> Iterator[Ledger]:
    """The ledger of an output; where an archive turns out to be empty, no new output is left."""
    was_there = places.output.exists()
    with trouble_told(places.output):
        places.own.mkdir(mode=0o700, parents=True, exist_ok=True)  # paths may name patients
        places.staging.mkdir(exist_ok=True)
    try:
        with Ledger(places.ledger) as ledger:
            yield ledger
    except InputError as error:
        if error.code == _NO_SCANS and not was_there:
            shutil.rmtree(places.own, ignore_errors=True)
            with suppress(OSError):
                places.output.rmdir()
        raise


def _scans(root: Path, job: Job, events: Events) -> list[tuple[ScanRecord, Fault | None]]:
    """The scans of our share, each with why it is not wanted."""
    options, places = job.options, job.places

    def progress(done: int, total: int, message: str, /) -> None:
        del message
        events.searching(done, total)
        events.check()

    scans = search(
        root,
        places.index if places.own.is_dir() else None,
        pictures=options.min_slices == 1,
        rules=options.rules,
        progress=progress,
    )
    k, n = options.shard or (1, 1)
    judged = once_each((found, _fault(found, options)) for found in scans)
    return [(found, fault) for found, fault in judged if slot(found) % n == k - 1]


def _fault(found: ScanRecord, options: BatchOptions) -> Fault | None:
    """Why a scan is not to be tried, as far as its headers tell."""
    slices = found.facts.get("slices")
    if isinstance(slices, int) and slices < options.min_slices:
        few = f"{slices} slice(s), fewer than --min-slices {options.min_slices}"
        return Fault(code=FEW_SLICES, message=few)
    if found.fault and not policies_of(options.settings).allows(found.fault.code):
        return found.fault
    return select(found, options.rules) if options.rules else None


def _queue(job: Job, ledger: Ledger) -> Queue:
    options = job.options
    return Queue(
        ledger,
        job.recipe,
        min_slices=options.min_slices,
        anew=options.only == "all",
        in_place=job.places.has_results,
    )


def _check_any(root: Path, plan: Planned, job: Job, ledger: Ledger) -> None:
    """Raise when there is nothing at all, and never was."""
    if plan.found or job.options.shard or any(ledger.counts().values()):
        return
    raise InputError(
        f"'{root}' holds no scan; give a folder with DICOM, NIfTI, NRRD or MHA files, or zip"
        " archives of DICOM (pictures are taken with --min-slices 1)",
        code=_NO_SCANS,
    )


def _how_to_continue(job: Job, ledger: Ledger) -> str:
    counts = ledger.counts(recipe=job.recipe)
    settled = counts["done"] + counts["refused"] + counts["failed"]
    return (
        f"{settled} of {sum(counts.values())} cases are settled in '{job.places.output}'; run the"
        " same command again to continue"
    )
