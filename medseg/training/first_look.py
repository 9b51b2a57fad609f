"""The look at a run's dataset before its first step, kept in the run so that it is paid once."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import msgspec

from medseg.planning import read_plan
from medseg.planning.plan import decode
from medseg.runtime.progress import Progress
from medseg.training.dataset import Dataset
from medseg.training.dataset_check import DatasetReport, Look, look_at
from medseg.training.run_identity import read_identity
from medseg.training.run_status import PLAN
from medseg.writing import write_bytes

RECORD = "dataset_check.json"


def first_look(run: Path, dataset: Dataset, *, fold: int | None, progress: Progress) -> Look:
    """Look at every case of a run, held-out ones too; warn of what was found, and keep it.

    Parameters
    ----------
    run : Path
        Its folder. What an earlier start kept there is taken, without sketches, when the files
        are the same and there is a plan.
    dataset : Dataset
    fold : int or None
    progress : Progress
        May raise `Cancelled`.

    Raises
    ------
    InputError
        When a training would stop, or learn what is wrong.
    """
    plan = read_plan(run / PLAN) if (run / PLAN).is_file() else None
    kept = _kept(run)
    if plan is not None and kept is not None:
        return Look(kept, {})
    look = look_at(dataset, fold=fold, plan=plan, progress=progress)
    look.report.check()
    _warn(look.report)
    plain = msgspec.json.encode(look.report, order="deterministic")
    write_bytes(run / RECORD, msgspec.json.format(plain, indent=2) + b"\n")
    return look


def _kept(run: Path) -> DatasetReport | None:
    """What an earlier look found, when it was at the files that the run has now."""
    file, identity = run / RECORD, read_identity(run)
    if identity is None or not file.is_file():
        return None
    report = decode(file.read_bytes(), DatasetReport, where=str(file))
    images = {facts.name: facts.image for facts in report.cases}
    label_maps = {facts.name: facts.label_map for facts in report.cases}
    is_same = (images, label_maps) == (identity.images, identity.label_maps)
    return report if is_same else None


def _warn(report: DatasetReport) -> None:
    """One warning of each kind, with the number of its like."""
    ordered = sorted(report.of("warning"), key=lambda finding: finding.code)
    for _, group in itertools.groupby(ordered, key=lambda finding: finding.code):
        first, *others = group
        more = f" (and {len(others)} more; medseg dataset check shows them)" if others else ""
        warnings.warn(f"{first.message}{more}", stacklevel=2)
