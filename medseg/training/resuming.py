"""A run taken up again: with its own options and its own dataset, on the device that is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from medseg.errors import InputError, PlanError
from medseg.planning import Plan, read_plan
from medseg.planning.plan import decode
from medseg.training.case_folder import Status
from medseg.training.dataset import Dataset, open_dataset
from medseg.training.dataset_source import DatasetSource
from medseg.training.options import LENGTHS, TrainingOptions, check_one_length, epoch_steps
from medseg.training.run_identity import read_identity
from medseg.training.run_status import CHECKPOINT, MODEL, OPTIONS, PLAN, SOURCE
from medseg.training.state import State, read_state

FREE = (*LENGTHS, "device", "learning_rate", "gpu_memory")
FLAGS = {"start": "from", "settings": "set"}
"""Options whose word on the command line is another one."""


def stored_options(run: Path) -> TrainingOptions:
    """The options of the run that is there.

    Raises
    ------
    InputError
        When there is none.
    """
    stored = run / OPTIONS
    if not stored.is_file():
        raise InputError(f"'{run}' holds no run to resume; start it without --resume")
    return decode(stored.read_bytes(), TrainingOptions, where=str(stored))


def asked_of(options: TrainingOptions) -> dict[str, Any]:
    """The options that are not as where nobody says anything, and the device."""
    default, values = structs.asdict(TrainingOptions()), structs.asdict(options)
    return {k: value for k, value in values.items() if k == "device" or value != default[k]}


def continued_options(run: Path, given: Mapping[str, Any]) -> TrainingOptions:
    """The options a run goes on with: its own, on the device asked for, and longer if asked to be.

    Parameters
    ----------
    run : Path
    given : mapping of str to object
        What was asked for now. ``device`` and ``gpu_memory`` are taken; ``steps``, ``epochs`` or
        ``minutes``, of the whole run, are taken where they are more than before, and
        ``learning_rate`` where it is lower; anything else has to be as it was.

    Raises
    ------
    InputError
        When something else is asked for than the run began with.
    """
    stored = stored_options(run)
    others = [
        name for name, value in given.items() if name not in FREE and getattr(stored, name) != value
    ]
    rate = given.get("learning_rate")
    if rate is not None and rate > stored.peak_rate:
        others.append("learning_rate")
    if others:
        asked = ", ".join(f"--{_flag(name)} {_word(given, name)}" for name in others)
        ours = ", ".join(f"{name} {_word(structs.asdict(stored), name)}" for name in others)
        raise InputError(
            f"a run goes on as it began, and that in '{run}' began with {ours}; leave out {asked},"
            f" or start another run in another folder{_finished_part(run, stored)}",
            code="OTHER_OPTIONS",
        )
    taken = ("device", "learning_rate", "gpu_memory")
    changes = {name: given[name] for name in taken if given.get(name)}
    return structs.replace(stored, **changes, **_length(run, stored, given))


def is_finished(run: Path, options: TrainingOptions) -> bool:
    """Whether there is nothing left to do for a run with these options."""
    state = read_state(run / CHECKPOINT)
    if state is None or not (run / MODEL / "manifest.json").is_file():
        return False
    from medseg.model_package import ModelPackage

    searched = "postprocessing" in ModelPackage.open(run / MODEL).manifest.provenance
    total = max(state.total_steps, options.steps or 0)
    done = state.step >= total or (state.ended and total == state.total_steps)
    return done and (searched or not options.postprocess)


def finished_sentence(run: Path) -> str:
    """That a run is finished, and how it is trained longer."""
    state = read_state(run / CHECKPOINT) or State(step=0, total_steps=0, seconds=0.0)
    return (
        f"the run in '{run}' is finished after {state.step} steps; to train it longer, give"
        f" --resume with --steps above {state.total_steps}, with more --epochs, or with"
        f" --minutes above {state.seconds / 60:.3g}, of the whole run"
    )


def check_same_plan(run: Path, plan: Plan, options: TrainingOptions) -> None:
    """Refuse a plan that is not the run's, but for what options say in place of it.

    Raises
    ------
    PlanError
        When it is another one.
    """
    stored = read_plan(run / PLAN) if (run / PLAN).is_file() else None
    if stored is not None:
        in_place = {
            "augmentation": (options.augmentation, stored.augmentation),
            "batch": (options.batch, stored.batch),
            "loss": (options.class_weights, stored.loss),
        }
        plan = structs.replace(
            plan, **{name: of_run for name, (asked, of_run) in in_place.items() if asked}
        )
    if plan != stored:
        raise PlanError(
            f"the plan given is not that of the run in '{run}', which goes on by its own; leave"
            " --plan out, or start another run in another folder"
        )


def reopen_dataset(
    run: Path,
    path: Path | None = None,
    *,
    splits: Path | None = None,
    labels: Path | None = None,
    modality: str | None = None,
    status: Status | None = None,
) -> Dataset:
    """The dataset of a run, opened as it was when the run began.

    Parameters
    ----------
    run : Path
    path : Path, optional
        Where it lies now.
    splits, labels : Path, optional
    modality : str, optional
    status : {"raw", "draft", "reviewed"}, optional
        Each in place of what was chosen then; :func:`medseg.training.run_identity.same_dataset`
        tells whether it is the same.

    Raises
    ------
    InputError
        When neither the run nor `path` says where the dataset is, or it is none.
    """
    source, kept = _source(run), read_identity(run)
    if path is None and source is None:
        raise InputError(
            f"the run in '{run}' does not say where its dataset is; give the dataset's folder too"
        )
    source = source or DatasetSource(path=str(path))
    if kept is None:
        return open_dataset(
            path or source.path,
            splits=splits or source.splits,
            labels=labels or (Path(source.labels) if source.labels else None),
            modality=modality or source.modality,
            status=status or source.status,
        )
    keeps_labels = labels is None and source.labels is not None
    dataset = open_dataset(
        path or source.path,
        splits=splits,
        labels=kept.labels if keeps_labels else labels,
        modality=modality or source.modality,
        status=status or source.status,
    )
    if keeps_labels:
        moved = structs.replace(source, path=str(Path(path or source.path).resolve()))
        dataset = replace(dataset, annotated=kept.labels, regions=kept.regions, source=moved)
    return dataset if splits else replace(dataset, folds=kept.folds)


def _source(run: Path) -> DatasetSource | None:
    file = run / SOURCE
    return decode(file.read_bytes(), DatasetSource, where=str(file)) if file.is_file() else None


def _length(run: Path, stored: TrainingOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for of steps, epochs and minutes, where it is more than the run has."""
    asked = {
        name: given[name]
        for name in LENGTHS
        if given.get(name) is not None and given[name] != getattr(stored, name)
    }
    check_one_length(asked)
    state = read_state(run / CHECKPOINT)
    if not asked:
        return {}
    if state is None or state.step == 0:
        return dict.fromkeys(LENGTHS) | asked
    if "epochs" in asked:
        asked["steps"] = asked["epochs"] * _epoch_steps(run, stored)
    elif "minutes" in asked:
        left = asked["minutes"] * 60 - state.seconds
        asked["steps"] = state.step + int(left * state.step / max(state.seconds, 1e-3))
    if asked["steps"] < state.total_steps:
        raise InputError(
            f"the run in '{run}' has {state.total_steps} steps in all, {state.step} of them done in"
            f" {state.seconds / 60:.3g} minutes; --steps, --epochs or --minutes can only make it"
            " longer",
            code="OTHER_OPTIONS",
        )
    return dict.fromkeys(LENGTHS) | {"steps": asked["steps"]}


def _epoch_steps(run: Path, stored: TrainingOptions) -> int:
    """Steps of an epoch of a run that has begun."""
    kept = read_identity(run)
    if kept is None:
        raise InputError(
            f"the run in '{run}' is of an earlier medseg and does not say how many cases it has;"
            " give --steps instead of --epochs"
        )
    cases = len(kept.images if stored.fold is None else kept.folds[stored.fold].train)
    return epoch_steps(cases=cases, batch=read_plan(run / PLAN).batch)


def _flag(name: str) -> str:
    """The word of an option on the command line."""
    return FLAGS.get(name, name.replace("_", "-"))


def _finished_part(run: Path, stored: TrainingOptions) -> str:
    return f"; {finished_sentence(run)}" if is_finished(run, stored) else ""


def _word(values: Mapping[str, Any], name: str) -> str:
    """The value of an option, as a person would write it."""
    value = values[name]
    if isinstance(value, dict):
        return " ".join(f"{key}={part}" for key, part in value.items()) or "(none)"
    if value is None:
        return "all" if name == "fold" else "(none)"
    return str(value)
