"""The folder of a run as it begins: there is a run in it once its options are."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.errors import InputError
from medseg.model_package import ModelPackage
from medseg.planning import Plan
from medseg.planning.plan import encode
from medseg.training.dataset_source import DatasetSource
from medseg.training.fine_tuning import FILE as PARENT
from medseg.training.fine_tuning import save_parent
from medseg.training.options import TrainingOptions
from medseg.training.resuming import save_options
from medseg.training.run_status import PLAN, SOURCE

_BEGUN = re.compile(rf"{PLAN}|{SOURCE}|{PARENT}|\.[0-9a-f]{{12}}\.json", re.ASCII)
"""What a process that was killed before the options were kept may leave."""


def is_free(run: Path) -> bool:
    """Whether a run can begin there: nothing is in the folder, or what a killed start left."""
    if not run.exists():
        return True
    return run.is_dir() and all(_BEGUN.fullmatch(path.name) for path in run.iterdir())


def create_run_folder(
    run: Path,
    options: TrainingOptions,
    *,
    plan: Plan | None,
    package: ModelPackage | None,
    source: DatasetSource | None,
) -> None:
    """Make a run's folder, with what it is to be trained by; the options come last.

    Parameters
    ----------
    run : Path
    options : TrainingOptions
    plan : Plan or None
        None: it will be made.
    package : ModelPackage or None
        What the run starts from.
    source : DatasetSource or None

    Raises
    ------
    InputError
        When something is in the folder.
    """
    if not is_free(run):
        raise InputError(
            f"'{run}' exists and is not empty; continue it with --resume, or choose another folder"
        )
    run.mkdir(parents=True, exist_ok=True)
    for left in run.iterdir():
        left.unlink()
    if package is not None:
        save_parent(run, package)
    if plan is not None:
        (run / PLAN).write_bytes(encode(plan))
    if source is not None:
        (run / SOURCE).write_bytes(encode(source))
    save_options(run, options)
