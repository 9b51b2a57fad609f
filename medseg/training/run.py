"""A training run from a dataset to a model package, in a folder that can be resumed."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from msgspec import structs
from torch import nn

from medseg.augmentation import build_augmentation
from medseg.errors import Cancelled, InputError, PlanError
from medseg.inference import Predictor
from medseg.losses import Loss, build_loss, loss_choice, try_loss
from medseg.model_package import find_package, save_package
from medseg.networks import build_network
from medseg.networks.adapters.trial import try_network
from medseg.networks.encoders.protocol import Encoder
from medseg.planning import (
    Plan,
    augmentation_preset,
    read_plan,
)
from medseg.planning.fingerprint import CaseSketch, fingerprint_of
from medseg.planning.plan import encode
from medseg.planning.sides import side_doubt, side_sentence
from medseg.preprocessing.own_transforms import Transform
from medseg.runtime.device import Device, choose_device
from medseg.runtime.progress import Progress, silent
from medseg.training.cache import Prepared, prepare_case
from medseg.training.dataset import Case, Dataset, open_dataset
from medseg.training.dataset_check import Look
from medseg.training.fine_tuning import (
    check_fit,
    load_parent_weights,
    plan_of,
    read_parent,
    score_before,
    with_parent,
)
from medseg.training.first_look import first_look
from medseg.training.held_out import HeldOutCase, prepare_held_out
from medseg.training.history import History
from medseg.training.options import LOSS, TrainingOptions
from medseg.training.own_parts import Callback, OwnParts, own_parts
from medseg.training.packing import manifest_of, postprocessed
from medseg.training.plan_for_run import plan_for
from medseg.training.postprocessing_search import choose_postprocessing
from medseg.training.regions import class_regions
from medseg.training.resuming import (
    asked_of,
    continued_options,
    is_finished,
    reopen_dataset,
    save_options,
)
from medseg.training.run_folder import create_run_folder
from medseg.training.run_identity import same_dataset, same_plan, save_identity
from medseg.training.run_status import BUSY, CACHE, CHECKPOINT, MODEL, PLAN, run_lock
from medseg.training.state import read_state
from medseg.training.trainer import Trainer
from medseg.training.validation import mean_dice
from medseg.writing import write_bytes

PRETRAINED = "pretrained.json"
VALIDATION_CASES = 8
"""Held-out cases looked at while training; all of them at the end."""


def train(  # noqa: PLR0913 - each part a person may give has a keyword of its own
    dataset: Dataset | str | Path | None,
    run: str | Path,
    *,
    options: TrainingOptions | None = None,
    plan: Plan | None = None,
    resume: bool = False,
    network: str | nn.Module | None = None,
    loss: str | Loss | None = None,
    transforms: Transform | Sequence[Transform] = (),
    augmentation: str | Transform | Sequence[Transform] | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    progress: Progress = silent,
) -> Path:
    """Plan, prepare, train, measure and pack a model.

    Parameters
    ----------
    dataset : Dataset or str or Path or None
        An opened dataset, or the folder of one. With `resume` None takes that of the run, and any
        other has to be the same.
    run : str or Path
        Folder of the run: plan.json, options.json, cache/, checkpoint, history, tensorboard/,
        and at the end model/. It is removed again when the run fails before its first step.
    options : TrainingOptions, optional
        A person's choices. A resumed run has its own: `device` is taken, more `steps` or
        `minutes` (of the whole run) make it longer, and anything else that is not as at its start
        is refused.
    plan : Plan, optional
        Instead of the one made for the dataset and device.
    resume : bool, default False
        Go on with a run that was stopped. What was given in Python is given again. Of a finished
        run only the model's folder is returned.
    network : str or torch.nn.Module, optional
        A name (``"monai:VNet"``, in place of the one in `options`), or a network that takes
        ``image_BCIJK`` of the plan's patch (``image_BCIJ`` when the plan has a plane) and gives
        logits of the background and every label on the same voxels. It is tried at once, and
        trained in place. The model records class and arguments where a twin can be made of them;
        where not, `Predictor.load` takes ``network=``.
    loss : str or callable, optional
        A name (``"monai:DiceFocalLoss"``), or a loss of MONAI's calling form: it takes logits
        (B, L, I, J, K) and class indices (B, 1, I, J, K) as float32, and gives a scalar.
    transforms : callable or sequence of callable, optional
        MONAI transforms, array form or dictionary form with the key ``"image"``. They run once on
        every whole scan, after the plan's orientation, spacing and normalisation, in training and
        in prediction alike, so `Predictor.load` needs them too. They keep every voxel where it
        is, and are not random.
    augmentation : str or callable or sequence of callable, optional
        One of ``"none"``, ``"light"``, ``"standard"`` and ``"strong"``; or MONAI transforms,
        dictionary form with the keys ``"image"`` and ``"label"``, on every training patch,
        normalised and of the plan's size, in place of the plan's augmentation. They may be random:
        each patch has its own seed. Prediction does not run them.
    callbacks : callable or sequence of callable, optional
        Called after every step with a `TrainingEvent`; when one returns True, the training ends
        there, and the model is measured and packed as at its regular end.
    progress : Progress, optional
        Called after every case, step and validation, and with what becomes of left and right;
        may raise `Cancelled`.

    Returns
    -------
    Path
        The model package's folder.

    Raises
    ------
    InputError
        When `run` exists and is not to be resumed, or cannot be, or a part of Python does not suit.
    MedsegError
        Whatever a case, a plan or the loss gives rise to.
    """
    run = Path(run)
    given = {"network": network, "loss": loss, "augmentation": augmentation}
    names = {key: part for key, part in given.items() if isinstance(part, str)}
    own = own_parts(
        network=None if isinstance(network, str) else network,
        loss=None if isinstance(loss, str) else loss,
        transforms=transforms,
        augmentation=None if isinstance(augmentation, str) else augmentation,
        callbacks=callbacks,
    )
    if names:
        options = structs.replace(options or TrainingOptions(), **names)
    if resume:
        return _resume(dataset, run, options, own, progress)
    if dataset is None:
        raise InputError("a run that starts needs a dataset; give its folder")
    opened = dataset if isinstance(dataset, Dataset) else open_dataset(Path(dataset))
    options = _start(opened, run, options or TrainingOptions(), plan, own)
    try:
        with run_lock(run):
            look = first_look(run, opened, fold=options.fold, progress=progress)
            save_identity(run, opened, look.report.digests)
            return _train(opened, run, options, own, look, progress)
    except Exception as error:
        _remove_unbegun(run, error)
        raise


def _resume(
    dataset: Dataset | str | Path | None,
    run: Path,
    options: TrainingOptions | None,
    own: OwnParts,
    progress: Progress,
) -> Path:
    """Go on with a run by its own options, on its own dataset."""
    options = continued_options(run, {} if options is None else asked_of(options))
    if is_finished(run, options):
        return run / MODEL
    if not isinstance(dataset, Dataset):
        dataset = reopen_dataset(run, None if dataset is None else Path(dataset))
    with run_lock(run):
        save_options(run, options)
        dataset = same_dataset(run, dataset, progress=progress)
        look = first_look(run, dataset, fold=options.fold, progress=progress)
        return _train(dataset, run, options, own, look, progress)


def _start(
    dataset: Dataset, run: Path, options: TrainingOptions, plan: Plan | None, own: OwnParts
) -> TrainingOptions:
    """Check what was chosen, and make the run's folder; the options say what is trained."""
    dataset.fold(options.fold)
    package = find_package(options.start) if options.start else None
    if package is not None:
        check_fit(dataset, package)
        plan = plan_of(package, plan)
    options = own.named(options.by(plan))
    if plan is not None:
        plan = _with_augmentation(plan, options, modality=dataset.modality)
        plan = own.planned(plan, classes=plan.outputs(dataset.labels))
    _check_regions(dataset, options, plan)
    create_run_folder(run, options, plan=plan, package=package, source=dataset.source)
    return options


def _remove_unbegun(run: Path, error: Exception) -> None:
    """Remove the folder of a run that failed before its first step; a stopped one is kept."""
    state = read_state(run / CHECKPOINT)
    stays = isinstance(error, Cancelled) or getattr(error, "code", "") == BUSY
    if not stays and (state is None or state.step == 0):
        shutil.rmtree(run, ignore_errors=True)


def _train(
    dataset: Dataset,
    run: Path,
    options: TrainingOptions,
    own: OwnParts,
    look: Look,
    progress: Progress,
) -> Path:
    """Everything after the run's folder and options are there."""
    parent = read_parent(run)
    dataset = dataset if parent is None else dataset.numbered(parent.labels)
    training, held_out_cases = dataset.fold(options.fold)
    device = choose_device(options.device)
    sketches = [look.sketches[case.name] for case in training if case.name in look.sketches]
    plan = _plan(dataset, run, options, own, device, sketches)
    same_plan(run, plan)
    sides = side_sentence(exchanged=plan.exchanges_sides, doubt=side_doubt(dataset.labels))
    if sides:
        progress(0, 1, sides)
    torch.manual_seed(options.seed)
    classes = plan.outputs(dataset.labels)
    network = build_network(plan, classes=classes, given=own.network)
    if options.pretrained and not (run / CHECKPOINT).is_file():
        _load_encoder(network, Path(options.pretrained), run, inflate=options.inflate)
    network = network.to(device.torch_device)
    predictor = Predictor(network, plan, dataset.labels, device, transforms=own.transforms)
    logits = try_network(network, plan, classes=classes)
    try_loss(build_loss(plan, given=own.loss), logits, name=plan.loss.name)
    prepared = _prepare(dataset, training, plan, run, own, progress)
    held_out = prepare_held_out(
        dataset, held_out_cases, plan, run / CACHE, transforms=own.transforms, progress=progress
    )
    measure = functools.partial(mean_dice, predictor, regions=dataset.regions)
    if parent is not None and not (run / CHECKPOINT).is_file():
        load_parent_weights(network, find_package(str(options.start)), parent)
        network.eval()
        _measure_before(measure, held_out, run, progress)

    def validate_quick() -> dict[str, float]:
        return measure(held_out[:VALIDATION_CASES])

    trainer = Trainer(network, plan, options, device, run, validate_quick, own)
    trainer.resume()
    trainer.fit(prepared, progress=progress)
    network.eval()
    scores = measure(held_out, progress=progress)
    manifest = with_parent(
        manifest_of(dataset, plan, options, scores, trainer.state.step, len(training)), run
    )
    package = save_package(run / MODEL, manifest, network)
    if options.postprocess:
        choice = choose_postprocessing(
            predictor, held_out, regions=dataset.regions, progress=progress
        )
        package = save_package(run / MODEL, postprocessed(manifest, choice), network)
    return package.folder


def _measure_before(
    measure: Callable[..., dict[str, float]],
    cases: tuple[HeldOutCase, ...],
    run: Path,
    progress: Progress,
) -> None:
    """Score the model a run starts from on its held-out cases, once, as its step 0."""
    if not cases or score_before(run):
        return
    dice = measure(cases, progress=progress)
    with History(run) as history:
        history.add({"step": 0, "seconds": 0.0, "dice": dice})


def _with_augmentation(plan: Plan, options: TrainingOptions, *, modality: str) -> Plan:
    """The plan with the augmentation asked for; refused now, not after preparing, if wrong."""
    if options.augmentation is not None:
        preset = augmentation_preset(options.augmentation, modality=modality)
        plan = structs.replace(plan, augmentation=preset)
    build_augmentation(plan)
    return plan


def _check_regions(dataset: Dataset, options: TrainingOptions, plan: Plan | None) -> None:
    """Refuse what cannot go with the dataset's regions, before anything is made."""
    regions = class_regions(dataset.regions)
    if plan is not None and plan.regions != regions:
        raise PlanError(
            f"the plan has the regions {plan.regions} and the dataset '{dataset.name}' has"
            f" {regions} (class indices); put the dataset's into the plan, or plan again"
        )
    loss_choice(plan.loss.name if plan else options.loss or LOSS, regions=regions)


def _plan(
    dataset: Dataset,
    run: Path,
    options: TrainingOptions,
    own: OwnParts,
    device: Device,
    sketches: Sequence[CaseSketch],
) -> Plan:
    """The run's plan, saved before anything trains; the stored one when there is one."""
    stored = run / PLAN
    if stored.is_file():
        return read_plan(stored)
    fingerprint = fingerprint_of(sketches)
    plan = plan_for(dataset, fingerprint, options, own, device)
    (run / "fingerprint.json").write_bytes(encode(fingerprint))
    write_bytes(stored, encode(plan))
    return plan


def _load_encoder(network: nn.Module, path: Path, run: Path, *, inflate: bool) -> None:
    """Give the network's encoder the weights of a file; what did and did not fit is kept."""
    from medseg.training.pretrained import load_pretrained

    encoder = next((part for part in network.modules() if isinstance(part, Encoder)), None)
    if encoder is None:
        raise PlanError(
            f"this network has no encoder that could take the weights of '{path}'; choose one over"
            " an encoder, such as deeplab, pspnet, fcn or encoder_unet"
        )
    report = load_pretrained(encoder, path, inflate=inflate)
    (run / PRETRAINED).write_bytes(encode(report))


def _prepare(
    dataset: Dataset,
    cases: tuple[Case, ...],
    plan: Plan,
    run: Path,
    own: OwnParts,
    progress: Progress,
) -> list[Prepared]:
    """All training cases as the network sees them."""
    prepared = []
    for done, case in enumerate(cases):
        progress(done, len(cases), "preparing")
        prepared.append(prepare_case(dataset, case, plan, run / CACHE, own.transforms))
    return prepared
