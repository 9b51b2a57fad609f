"""What a worker does with a task: read, segment, write; three steps that may overlap."""

from __future__ import annotations

import functools
import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from medseg.errors import Cancelled
from medseg.inference import Options
from medseg.metrics import volumes_ml
from medseg.runtime.progress import Progress
from medseg.volume import Scan
from medseg.workflows import segment
from medseg.workflows.figures import overlay, thumbnail
from medseg.workflows.outputs import check
from medseg.writing import write_labels, write_scan
from medseg_pipelines.batch.archive.search import read_archived_scan
from medseg_pipelines.batch.ledger.enqueue import FEW_SLICES
from medseg_pipelines.batch.ledger.provenance import (
    CaseRecord,
    Source,
    file_digest,
    file_digests,
    sync_files,
    write_record,
)
from medseg_pipelines.batch.messages import Result, Task
from medseg_pipelines.batch.result_files import FILES, THUMBNAIL
from medseg_pipelines.batch.workers.error_codes import refused, result_of
from medseg_pipelines.batch.workers.formats import (
    ENCODED,
    NO_LABELS,
    policies_of,
)
from medseg_pipelines.batch.workers.model_cache import Models
from medseg_pipelines.batch.workers.protocol import Stage, Step

ReportStep = Callable[[Step], None]


@dataclass(frozen=True)
class ReadCase:
    """A task whose scan was read."""

    task: Task
    scan: Scan
    source: Source
    seconds: float


@dataclass(frozen=True)
class SegmentedCase:
    """A task whose scan was segmented."""

    read: ReadCase
    result: segment.Result


def work(task: Task, report: ReportStep) -> Result:
    """Do all of a task; what goes wrong with the case is in the result.

    Raises `MedsegError` when the model or the device cannot be used: no case is to blame.
    """
    read = read_case(task, report)
    if isinstance(read, Result):
        return read
    segmented = segment_case(read, _models(), report)
    return segmented if isinstance(segmented, Result) else write_case(segmented, report)


def read_case(task: Task, report: ReportStep) -> ReadCase | Result:
    """Read the scan of a task and take its digests; a `Result` when nothing is left to do."""
    start = time.monotonic()
    try:
        progress = _stage(task, "read", report)
        scan = read_archived_scan(task.scan, policies=policies_of(task.settings), progress=progress)
        scan.check_finite()
        content = _content(task, scan)
        refusal = _refusal(task, scan)
        source = _source(task, scan, content)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - libraries raise of every kind; it goes on record
        return result_of(error, task, "read")
    seconds = time.monotonic() - start
    if refusal is not None:
        return msgspec.structs.replace(refusal, content=content)
    if content == task.known_content:
        same = Result(case=task.case, token=task.token, state="done", content=content)
        return msgspec.structs.replace(same, unchanged=True, seconds={"read": seconds})
    return ReadCase(task, scan, source, seconds)


def segment_case(read: ReadCase, models: Models, report: ReportStep) -> SegmentedCase | Result:
    """Label every voxel of a scan; `MedsegError` when the model or the device cannot be used."""
    progress = _stage(read.task, "segment", report)
    model = models.of(read.task)
    settings = msgspec.to_builtins(read.task.settings)
    options = Options(probabilities="probabilities" in read.task.settings.formats)
    try:
        result = segment.segment_case(
            read.scan, model.predictor, model.used, options, settings=settings, progress=progress
        )
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        return result_of(error, read.task, "segment")
    return SegmentedCase(read, result)


def write_case(segmented: SegmentedCase, report: ReportStep) -> Result:
    """Write all results of a case into its staging folder, its record last; or nothing stays."""
    task = segmented.read.task
    start = time.monotonic()
    folder = Path(task.staging)
    try:
        folder.mkdir(exist_ok=True)
        _write_files(segmented, folder, _stage(task, "write", report))
        record = _record(segmented, folder, time.monotonic() - start)
        write_record(folder, record)
    except Exception as error:  # noqa: BLE001 - as above
        with suppress(OSError):
            shutil.rmtree(folder)
        return result_of(error, task, "write")
    return record.result


@functools.cache
def _models() -> Models:
    return Models()


def _stage(task: Task, stage: Stage, report: ReportStep) -> Progress:
    """Say that a stage begins; progress of its steps."""
    report(Step(case=task.case, stage=stage))

    def progress(done: int, total: int, _message: str, /) -> None:
        report(Step(case=task.case, stage=stage, done=done, total=total))

    return progress


def _content(task: Task, scan: Scan) -> str:
    """SHA-256 over the bytes of the scan's files, in whichever order they lie there."""
    files = list(scan.provenance.files) or [Path(task.scan.path)]
    digests = sorted(map(file_digest, files))
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _refusal(task: Task, scan: Scan) -> Result | None:
    """Why the scan is not to be segmented, though it can be read."""
    slices = min(scan.grid.shape)
    if slices < task.min_slices:
        few = f"{slices} slice(s), fewer than --min-slices {task.min_slices}"
        return refused(task, FEW_SLICES, few)
    files = [FILES[form] for form in task.settings.formats if form not in NO_LABELS]
    reasons = (check(scan, file) for file in files)
    reason = next((reason for reason in reasons if reason), None)
    return refused(task, reason.code, str(reason)) if reason else None


def _source(task: Task, scan: Scan, content: str) -> Source:
    provenance = scan.provenance
    named = not task.settings.deidentify
    return Source(
        format=provenance.format,
        modality=scan.modality,
        shape=scan.grid.shape,
        spacing_mm=tuple(float(mm) for mm in scan.grid.spacing_mm),
        files=len(provenance.files),
        content=content,
        pixels=_pixels(scan),
        series=provenance.series_uid if named else "",
        instances=provenance.instance_uids if named else (),
    )


def _pixels(scan: Scan) -> str:
    """SHA-256 over kind, shape and values of the voxels, axis I the fastest, as files have them."""
    seen = hashlib.sha256(f"{scan.voxels.dtype.str} {scan.voxels.shape}".encode())
    for channel in scan.voxels:
        for plane in np.moveaxis(channel, 2, 0):
            seen.update(np.ascontiguousarray(plane.T).data)
    return seen.hexdigest()


def _write_files(segmented: SegmentedCase, folder: Path, progress: Progress) -> None:
    """Write everything but the record."""
    settings, scan = segmented.read.task.settings, segmented.read.scan
    labels = segmented.result.labels
    for done, form in enumerate(settings.formats):
        progress(done, len(settings.formats), "writing")
        path = folder / FILES[form]
        if form == "preview":
            path.write_bytes(overlay(scan, labels))
        elif form == "probabilities":
            write_scan(cast(Scan, segmented.result.probabilities), path)
        else:
            encoding = settings.encoding if form in ENCODED else None
            write_labels(labels, path, encoding=encoding)
    (folder / THUMBNAIL).write_bytes(thumbnail(scan, labels))
    if settings.deidentify:
        from medseg_pipelines.batch.workers.deidentify import deidentify_results

        deidentify_results(folder)
    sync_files(folder)


def _record(segmented: SegmentedCase, folder: Path, seconds: float) -> CaseRecord:
    read, made = segmented.read, segmented.result.record
    task, record = read.task, read.task.scan
    took = {"read": read.seconds, **made.seconds, "write": seconds}
    notes = (*record.notes, *read.scan.provenance.notes, *made.warnings)
    return CaseRecord(
        case=task.case,
        token=task.token,
        key=record.key,
        lineage=record.lineage,
        folder=record.folder,
        source=read.source,
        model=made.model,
        settings=made.settings,
        versions=made.versions,
        device=made.device,
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds={name: round(value, 3) for name, value in took.items()},
        volumes_ml=volumes_ml(segmented.result.labels),
        warnings=tuple(dict.fromkeys(notes)),
        files=file_digests(folder),
    )
