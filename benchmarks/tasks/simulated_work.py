"""Work on a case that only takes time, or only writes: what a run and a cluster add to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from medseg.workflows.record import ModelUsed, versions
from medseg_pipelines.batch.ledger.provenance import (
    CaseRecord,
    Source,
    file_digests,
    sync_files,
    write_record,
)
from medseg_pipelines.batch.messages import Fault, Result, Task
from medseg_pipelines.batch.workers.protocol import Step

SECONDS = 0.5
LOOPS = 10_000_000
SIZE = 2_000_000

Tell = Callable[[Step], None]


def sleep(task: Task, tell: Tell) -> Result:
    """Wait, as for a GPU or a disk."""
    tell(Step(case=task.case, stage="segment"))
    time.sleep(SECONDS)
    return _refused(task)


def compute(task: Task, tell: Tell) -> Result:
    """Keep one core busy."""
    tell(Step(case=task.case, stage="segment"))
    sum(range(LOOPS))
    return _refused(task)


def write(task: Task, tell: Tell) -> Result:
    """Leave results of the usual size: 2 MB and the record."""
    tell(Step(case=task.case, stage="write"))
    folder = Path(task.staging)
    folder.mkdir()
    (folder / "labels.nii.gz").write_bytes(bytes(SIZE))
    sync_files(folder)
    source = Source(
        format="dicom",
        modality="CT",
        shape=(512, 512, 300),
        spacing_mm=(0.8, 0.8, 1.0),
        files=300,
        content=task.scan.key,
        pixels="",
        instances=tuple(f"2.25.{number:036d}" for number in range(300)),
    )
    record = CaseRecord(
        case=task.case,
        token=task.token,
        key=task.scan.key,
        lineage=task.scan.lineage,
        folder=task.scan.folder,
        source=source,
        settings=msgspec.to_builtins(task.settings),
        versions=versions(),
        model=ModelUsed(name="none", version="1", digest=task.model_digest, weights=""),
        device="none",
        ended="",
        seconds={},
        volumes_ml={},
        warnings=(),
        files=file_digests(folder),
    )
    write_record(folder, record)
    return Result(case=task.case, token=task.token, state="done", content=source.content)


def _refused(task: Task) -> Result:
    fault = Fault(code="MEASURED", message="only the time counts")
    return Result(case=task.case, token=task.token, state="refused", fault=fault)
