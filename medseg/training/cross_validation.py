"""Several folds of a dataset, one run each, and one model of them all."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from medseg.errors import InputError
from medseg.inference import Predictor
from medseg.model_package import ModelPackage
from medseg.planning import Plan
from medseg.planning.plan import encode
from medseg.runtime.device import choose_device
from medseg.runtime.progress import Progress, silent, tell
from medseg.training.cross_validation_folders import (
    AllFolds,
    FoldRun,
    chosen_folds,
    fold_folder,
    fold_reports,
    folds_of_run,
    is_whole,
    set_up_folds,
)
from medseg.training.cross_validation_processes import train_on_devices
from medseg.training.dataset import Dataset
from medseg.training.dataset_check import Look
from medseg.training.ensemble import manifest_of_folds, save_folds
from medseg.training.fine_tuning import named_as, read_parent
from medseg.training.first_look import first_look
from medseg.training.held_out import HeldOutCase, prepare_held_out
from medseg.training.options import TrainingOptions, check_one_length
from medseg.training.out_of_fold import collect_out_of_fold
from medseg.training.own_parts import OwnParts, with_parts
from medseg.training.packing import postprocessed
from medseg.training.postprocessing_search import choose_postprocessing
from medseg.training.resuming import FREE, asked_of, continued_options, reopen_dataset
from medseg.training.run import opened_dataset, plan_of_run, prepare, start_run, train
from medseg.training.run_folder import cache_of, orderly_end, save_options
from medseg.training.run_identity import same_dataset, same_plan, save_identity
from medseg.training.run_status import FOLDS, MODEL, OPTIONS, run_lock


@dataclass(frozen=True)
class _Job:
    """A run of several folds that is being worked at.

    Parameters
    ----------
    run : Path
    dataset : Dataset
    numbers : tuple of int
        Of the folds.
    options : TrainingOptions
    parts : dict
        Of Python, as :func:`medseg.train` takes them.
    devices : tuple of str
        A process each; none: fold after fold in this one.
    progress : Progress
    """

    run: Path
    dataset: Dataset
    numbers: tuple[int, ...]
    options: TrainingOptions
    parts: Mapping[str, Any]
    devices: tuple[str, ...]
    progress: Progress

    @property
    def own(self) -> OwnParts:
        """The parts of Python that are objects; a network that no other fold has trained."""
        return with_parts(None, **{**self.parts, "network": self.network})[1]

    @property
    def network(self) -> Any:
        """A network of Python, as it was given: a training changes what it gets."""
        return copy.deepcopy(self.parts.get("network"))


def train_folds(  # noqa: PLR0913 - as `train`
    dataset: Dataset | str | Path | None,
    run: str | Path,
    *,
    folds: Sequence[int] | AllFolds = "all",
    options: TrainingOptions | None = None,
    plan: Plan | None = None,
    resume: bool = False,
    devices: Sequence[str] = (),
    progress: Progress = silent,
    **parts: Any,
) -> Path:
    """Train a network on each of several folds, predict every case out of fold, pack one model.

    One plan is made, on all cases, and each case is prepared once. Every fold is a run in
    ``fold_0``, ``fold_1``...; label maps and scores of the cases by the network that did not see
    them are in ``out_of_fold``; ``model`` holds the networks of all folds, which predict together.

    Parameters
    ----------
    dataset : Dataset or str or Path or None
        As for :func:`medseg.train`.
    run : str or Path
        Folder of the run.
    folds : sequence of int or "all", default "all"
        Two at least, which share no held-out case. With `resume` those of the run.
    options : TrainingOptions, optional
        Of every fold: `steps`, `epochs` or `minutes` are those of one. `fold` is not looked at.
        With `postprocess`, steps are chosen by the predictions out of fold of all folds.
    plan : Plan, optional
        Instead of the one made for the dataset and device.
    resume : bool, default False
        Go on where it was stopped: folds that are finished are not trained again.
    devices : sequence of str, optional
        Such as ``("cuda:0", "cuda:1")``: folds are trained on them at the same time, in a process
        for each, to which no object of Python goes. Without it, one after another on the device
        of `options`.
    progress : Progress, optional
    **parts
        `network`, `loss`, `transforms`, `augmentation` and `callbacks` of :func:`medseg.train`.
        Each fold trains a copy of the network.

    Returns
    -------
    Path
        The model package's folder.

    Raises
    ------
    InputError
        When the folds cannot be trained or scored, or whatever :func:`medseg.train` refuses.
    MedsegError
        Whatever a case, a plan or the loss gives rise to.
    """
    run = Path(run)
    given = {} if options is None else asked_of(options)
    options, own = with_parts(options, **parts)
    _check_devices(devices, parts)
    work = functools.partial(_Job, run, parts=parts, devices=tuple(devices), progress=progress)
    if resume:
        numbers = folds_of_run(run)
        _check_same_folds(run, numbers, folds)
        options = continued_options(run, {k: v for k, v in given.items() if k != "fold"})
        _lengthen(run, numbers, given)
        if is_whole(run, numbers, options):
            return run / MODEL
        if not isinstance(dataset, Dataset):
            dataset = reopen_dataset(run, None if dataset is None else Path(dataset))
        with orderly_end(run, starts=False), run_lock(run):
            save_options(run, options)
            dataset = same_dataset(run, dataset, progress=progress)
            look = first_look(run, dataset, fold=None, progress=progress)
            return _train(work(dataset=dataset, numbers=numbers, options=options), look)
    opened = opened_dataset(dataset)
    numbers = chosen_folds(opened, folds)
    options = structs.replace(options or TrainingOptions(), fold=numbers[0])
    check_one_length(structs.asdict(options))
    files = {FOLDS: encode(FoldRun(folds=numbers))}
    options = start_run(opened, run, options, plan, own, files)
    with orderly_end(run, starts=True), run_lock(run):
        look = first_look(run, opened, fold=None, progress=progress)
        save_identity(run, opened, look.report.digests)
        return _train(work(dataset=opened, numbers=numbers, options=options), look)


def _train(job: _Job, look: Look) -> Path:
    """Everything after the folder of the run is there."""
    run, dataset, parent = job.run, job.dataset, read_parent(job.run)
    named = dataset if parent is None else named_as(dataset, parent.labels)
    device = choose_device(job.devices[0] if job.devices else job.options.device)
    plan = plan_of_run(named, run, job.options, job.own, device, look, named.cases)
    same_plan(run, plan)
    reports = fold_reports(dataset, look.report, job.numbers, plan)
    set_up_folds(run, job.options, plan, reports)
    held_out = _prepared(job, named, plan)
    if job.devices:
        where = Path(dataset.source.path) if dataset.source else run
        train_on_devices(run, job.numbers, job.devices, where, job.progress)
    else:
        _one_after_another(job)
    return _packed(job, held_out)


def _prepared(job: _Job, named: Dataset, plan: Plan) -> dict[int, tuple[HeldOutCase, ...]]:
    """All cases, prepared for training and for measuring; what each fold holds out."""
    run, folds = job.run, {number: named.fold(number) for number in job.numbers}
    trained = {case.name for training, _ in folds.values() for case in training}
    cases = tuple(case for case in named.cases if case.name in trained)
    prepare(named, cases, plan, run, job.own, job.progress)
    transforms = job.own.transforms
    return {
        number: prepare_held_out(
            named, cases, plan, cache_of(run), transforms=transforms, progress=job.progress
        )
        for number, (_, cases) in folds.items()
    }


def _one_after_another(job: _Job) -> None:
    sentences: set[str] = set()
    for number in job.numbers:
        parts = {**job.parts, "network": job.network}
        train(
            job.dataset,
            fold_folder(job.run, number),
            resume=True,
            options=TrainingOptions(device=job.options.device),
            progress=_OfFold(job.progress, number, sentences),
            **{name: part for name, part in parts.items() if not isinstance(part, str)},
        )


def _packed(job: _Job, held_out: Mapping[int, Sequence[HeldOutCase]]) -> Path:
    """Out-of-fold predictions of every case, and the folder of the model of all folds."""
    run, regions, device = job.run, job.dataset.regions, job.options.device
    models = {n: ModelPackage.open(fold_folder(run, n) / MODEL) for n in job.numbers}
    given = {} if isinstance(job.network, str) else {"network": job.network}
    predictors = {
        number: Predictor.load(
            model,
            device=job.devices[0] if job.devices else device,
            transforms=job.own.transforms,
            **copy.deepcopy(given),
        )
        for number, model in models.items()
    }
    by_fold = collect_out_of_fold(run, job.numbers, progress=job.progress)
    manifest = manifest_of_folds(models, by_fold, held_out, job.dataset.name)
    if job.options.postprocess:
        fold_of = {case.name: number for number, cases in held_out.items() for case in cases}
        mixed = sorted((c for cases in held_out.values() for c in cases), key=lambda c: c.name)
        choice = choose_postprocessing(
            lambda case: predictors[fold_of[case.name]],
            mixed,
            regions=regions,
            progress=job.progress,
        )
        manifest = postprocessed(manifest, choice)
    return save_folds(run / MODEL, manifest, predictors).folder


class _OfFold:
    """Progress of one fold among several; what all of them would tell is told once."""

    def __init__(self, progress: Progress, number: int, sentences: set[str]) -> None:
        self.progress, self.number, self.sentences = progress, number, sentences

    def __call__(self, done: int, total: int, message: str, /) -> None:
        """Pass on how far it is."""
        self.progress(done, total, f"fold {self.number}: {message}")

    def tell(self, sentence: str, /) -> None:
        """Pass on a sentence."""
        if sentence not in self.sentences:
            self.sentences.add(sentence)
            tell(self.progress, sentence)


def _check_devices(devices: Sequence[str], parts: Mapping[str, Any]) -> None:
    """Refuse devices that are not there, and objects that cannot go to their processes."""
    for device in devices:
        choose_device(device)
    objects = [name for name, part in parts.items() if part and not isinstance(part, str)]
    if devices and objects:
        raise InputError(
            f"on several devices each fold has a process, to which the {objects[0]} of Python does"
            " not go; leave devices out, or give a name"
        )


def _check_same_folds(run: Path, numbers: tuple[int, ...], folds: Sequence[int] | AllFolds) -> None:
    if folds != "all" and tuple(sorted(set(folds))) != numbers:
        raise InputError(
            f"the run in '{run}' is of the folds {', '.join(map(str, numbers))}; leave --folds out,"
            " or start another run in another folder",
            code="OTHER_OPTIONS",
        )


def _lengthen(run: Path, numbers: Sequence[int], given: Mapping[str, Any]) -> None:
    """Let every fold's run be longer, or slower, as asked for."""
    asked = {name: given[name] for name in FREE if name in given and name != "device"}
    folders = [fold_folder(run, number) for number in numbers]
    begun = [folder for folder in folders if (folder / OPTIONS).is_file()]
    changed = {folder: continued_options(folder, asked) for folder in begun if asked}
    for folder, options in changed.items():
        save_options(folder, options)
