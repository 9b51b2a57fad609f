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

import msgspec
import numpy as np

from medseg.errors import Cancelled
from medseg.metrics import volumes_ml
from medseg.runtime.progress import Progress
from medseg.volume import LabelMap, Scan
from medseg.workflows.figures import overlay, thumbnail
from medseg.writing import write_labels
from medseg_pipelines.batch.archive.search import read_found
from medseg_pipelines.batch.ledger.enqueue import FEW_SLICES
from medseg_pipelines.batch.ledger.provenance import (
    Record,
    Source,
    file_digest,
    file_digests,
    sync_files,
    versions,
    write_record,
)
from medseg_pipelines.batch.messages import Result, Task
from medseg_pipelines.batch.workers.error_codes import refused, result_of
from medseg_pipelines.batch.workers.formats import ENCODED, FILES, OF_DICOM, THUMBNAIL, policies_of
from medseg_pipelines.batch.workers.model_cache import ModelAtWork, Models
from medseg_pipelines.batch.workers.protocol import Stage, Step

Tell = Callable[[Step], None]


@dataclass(frozen=True)
class ReadCase:
    """A task whose scan was read.

    Parameters
    ----------
    task : Task
    scan : Scan
    source : Source
        What is to be known of it.
    seconds : float
    """

    task: Task
    scan: Scan
    source: Source
    seconds: float


@dataclass(frozen=True)
class SegmentedCase:
    """A task whose scan was segmented."""

    read: ReadCase
    labels: LabelMap
    model: ModelAtWork
    seconds: float


def work(task: Task, tell: Tell) -> Result:
    """Do all of a task, one step after the other, in a process that does nothing else.

    Returns
    -------
    Result
        Whatever goes wrong with the case is in it.

    Raises
    ------
    MedsegError
        When the model or the device cannot be used: no case is to blame.
    """
    read = read_case(task, tell)
    if isinstance(read, Result):
        return read
    segmented = segment_case(read, _models(), tell)
    return segmented if isinstance(segmented, Result) else write_case(segmented, tell)


def read_case(task: Task, tell: Tell) -> ReadCase | Result:
    """Read the scan of a task and take its digests.

    Returns
    -------
    ReadCase or Result
        A result when there is nothing more to be done.
    """
    start = time.monotonic()
    try:
        scan = read_found(
            task.found, policies=policies_of(task.settings), progress=_stage(task, "read", tell)
        )
        scan.check_finite()
        content = _content(task, scan)
        refusal = _refusal(task, scan)
        source = _source(task, scan, content)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - libraries raise of every kind; the ledger is told
        return result_of(error, task, "read")
    seconds = time.monotonic() - start
    if refusal is not None:
        return msgspec.structs.replace(refusal, content=content)
    if content == task.known_content:
        return Result(
            case=task.case,
            token=task.token,
            state="done",
            content=content,
            unchanged=True,
            seconds={"read": seconds},
        )
    return ReadCase(task, scan, source, seconds)


def segment_case(read: ReadCase, models: Models, tell: Tell) -> SegmentedCase | Result:
    """Label every voxel of a scan.

    Returns
    -------
    SegmentedCase or Result
        A result when it did not succeed.

    Raises
    ------
    MedsegError
        When the model or the device cannot be used.
    """
    progress = _stage(read.task, "segment", tell)
    model = models.of(read.task)
    start = time.monotonic()
    try:
        labels = model.predictor.predict(read.scan, progress=progress)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        return result_of(error, read.task, "segment")
    return SegmentedCase(read, labels, model, time.monotonic() - start)


def write_case(segmented: SegmentedCase, tell: Tell) -> Result:
    """Write all results of a case into its staging folder, and its record last.

    Returns
    -------
    Result
        When it is not done, nothing is left in the staging folder.
    """
    task = segmented.read.task
    start = time.monotonic()
    folder = Path(task.staging)
    try:
        folder.mkdir(exist_ok=True)
        _write_files(segmented, folder, _stage(task, "write", tell))
        record = _record(segmented, folder, time.monotonic() - start)
        write_record(folder, record)
    except Exception as error:  # noqa: BLE001 - as above
        with suppress(OSError):
            shutil.rmtree(folder)
        return result_of(error, task, "write")
    return Result(
        case=task.case,
        token=task.token,
        state="done",
        content=record.source.content,
        volumes_ml=record.volumes_ml,
        warnings=record.warnings,
        seconds=record.seconds,
    )


@functools.cache
def _models() -> Models:
    return Models()


def _stage(task: Task, stage: Stage, tell: Tell) -> Progress:
    """Say that a stage begins; progress of its steps."""
    tell(Step(case=task.case, stage=stage))

    def told(done: int, total: int, message: str, /) -> None:
        del message
        tell(Step(case=task.case, stage=stage, done=done, total=total))

    return told


def _content(task: Task, scan: Scan) -> str:
    """SHA-256 over the bytes of the scan's files, in whichever order they lie there."""
    files = list(scan.provenance.files) or [Path(task.found.path)]
    if len(files) == 1:
        return file_digest(files)
    digests = sorted(file_digest([path]) for path in files)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _refusal(task: Task, scan: Scan) -> Result | None:
    """Why the scan is not to be segmented, though it can be read."""
    slices = min(scan.grid.shape)
    if slices < task.min_slices:
        few = f"{slices} slice(s), fewer than --min-slices {task.min_slices}"
        return refused(task, FEW_SLICES, few)
    source = scan.provenance
    wanted = [name for name in task.settings.formats if name in OF_DICOM]
    if wanted and not (source.instance_uids or source.native):
        lies = "this one lies in a zip archive; unpack it, or ask"
        if not task.found.path.lower().endswith(".zip"):
            lies = f"this scan was read from {source.format}; ask"
        return refused(
            task,
            "NO_DICOM_SOURCE",
            f"{' and '.join(wanted)} must refer to the files of a DICOM series, and {lies} for"
            " other formats, such as nifti",
        )
    return None


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
    for done, form in enumerate(settings.formats):
        progress(done, len(settings.formats), "writing")
        path = folder / FILES[form]
        if form == "preview":
            path.write_bytes(overlay(scan, segmented.labels))
        else:
            encoding = settings.encoding if form in ENCODED else None
            write_labels(segmented.labels, path, encoding=encoding)
    (folder / THUMBNAIL).write_bytes(thumbnail(scan, segmented.labels))
    if settings.deidentify:
        from medseg_pipelines.batch.workers.deidentify import deidentify_results

        deidentify_results(folder)
    sync_files(folder)


def _record(segmented: SegmentedCase, folder: Path, seconds: float) -> Record:
    read, model = segmented.read, segmented.model
    task, found = read.task, read.task.found
    took = {"read": read.seconds, "segment": segmented.seconds, "write": seconds}
    return Record(
        case=task.case,
        token=task.token,
        key=found.key,
        lineage=found.lineage,
        folder=found.folder,
        source=read.source,
        model=model.used,
        settings=task.settings,
        versions=versions(),
        device=model.predictor.device.description,
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds={name: round(value, 3) for name, value in took.items()},
        volumes_ml=volumes_ml(segmented.labels),
        warnings=_warnings(segmented),
        files=file_digests(folder),
    )


def _warnings(segmented: SegmentedCase) -> tuple[str, ...]:
    """What a person should know of a result."""
    read, model = segmented.read, segmented.model
    made = segmented.labels.provenance.notes  # when memory ran out, for one
    notes = (*read.task.found.notes, *read.scan.provenance.notes, *made)
    expected, modality = model.modality, read.scan.modality
    if expected and modality and expected != modality:
        other = (
            f"{model.used.name} was trained on {expected}, this scan is {modality}; its labels mean"
            " nothing here unless you know better"
        )
        notes = (*notes, other)
    return tuple(dict.fromkeys(notes))
