"""A training run from a dataset to a model package, in a folder that can be resumed."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from msgspec import structs
from torch import nn

from medseg.errors import InputError, PlanError
from medseg.inference import Predictor
from medseg.losses import Loss, build_loss, loss_choice, try_loss
from medseg.model_package import find_package, round_as_stored, save_package
from medseg.networks import build_network
from medseg.networks.adapters.trial import try_network
from medseg.planning import Plan, read_plan
from medseg.planning.fingerprint import fingerprint_of
from medseg.planning.plan import encode
from medseg.planning.regions import class_regions
from medseg.planning.sides import side_doubt, side_sentence
from medseg.preprocessing.own_transforms import Transform
from medseg.runtime.device import Device, choose_device
from medseg.runtime.progress import Progress, silent, tell
from medseg.training.cache import Prepared, prepare_case
from medseg.training.class_weights import (
    check_class_weights,
    weights_sentence,
    with_class_weights,
)
from medseg.training.dataset import Case, Dataset, open_dataset
from medseg.training.dataset_check import Look
from medseg.training.distributed import device_here, fabric_on, from_leader, leave
from medseg.training.fine_tuning import (
    ParentModel,
    check_fit,
    load_parent_weights,
    measure_before,
    named_as,
    parent_file,
    plan_of,
    read_parent,
    with_parent,
)
from medseg.training.first_look import first_look
from medseg.training.following import follow
from medseg.training.held_out import prepare_held_out
from medseg.training.held_out_scores import measure_held_out, rehearse
from medseg.training.options import LOSS, TrainingOptions, check_one_length
from medseg.training.own_parts import Callback, OwnParts, with_parts
from medseg.training.packing import (
    choose_checkpoint,
    manifest_of,
    postprocessed,
    training_facts,
)
from medseg.training.plan_for_run import plan_for, with_options
from medseg.training.postprocessing_search import choose_postprocessing
from medseg.training.pretrained import load_into_encoder
from medseg.training.ranks import ranks
from medseg.training.resuming import (
    asked_of,
    continued_options,
    is_finished,
    reopen_dataset,
)
from medseg.training.run_folder import (
    cache_of,
    check_single,
    create_run_folder,
    first_files,
    orderly_end,
    save_options,
)
from medseg.training.run_identity import read_identity, same_dataset, same_plan, save_identity
from medseg.training.run_status import CHECKPOINT, MODEL, PLAN, run_lock
from medseg.training.trainer import Trainer
from medseg.training.validation import Validation, dice_of, mean_dice
from medseg.volume import LabelTable
from medseg.writing import write_bytes

PRETRAINED = "pretrained.json"


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
    options, own = with_parts(
        options,
        network=network,
        loss=loss,
        transforms=transforms,
        augmentation=augmentation,
        callbacks=callbacks,
    )
    if not ranks().leads:
        device = options.device if options else "auto"
        source = dataset if isinstance(dataset, Dataset) or dataset is None else Path(dataset)
        return follow(run, source, device=device, own=own)
    if resume:
        check_single(run)
        return _resume(dataset, run, options, own, progress)
    opened = opened_dataset(dataset)
    options = options or TrainingOptions()
    check_one_length(structs.asdict(options))
    options = start_run(opened, run, options, plan, own)
    with orderly_end(run, starts=True), run_lock(run):
        look = first_look(run, opened, fold=options.fold, progress=progress)
        save_identity(run, opened, look.report.digests)
        return _train(opened, run, options, own, look, progress)


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
    with orderly_end(run, starts=False), run_lock(run):
        save_options(run, options)
        dataset = same_dataset(run, dataset, progress=progress)
        look = first_look(run, dataset, fold=options.fold, progress=progress)
        return _train(dataset, run, options, own, look, progress)


def opened_dataset(dataset: Dataset | str | Path | None) -> Dataset:
    """What a run that starts was given, opened."""
    if dataset is None:
        raise InputError("a run that starts needs a dataset; give its folder")
    return dataset if isinstance(dataset, Dataset) else open_dataset(Path(dataset))


def start_run(
    dataset: Dataset,
    run: Path,
    options: TrainingOptions,
    plan: Plan | None,
    own: OwnParts,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> TrainingOptions:
    """Check what was chosen, and make the run's folder; the options say what is trained."""
    cases, _ = dataset.fold(options.fold)
    if options.start:
        package = find_package(options.start)
        transfer = check_fit(dataset, package)
        plan = plan_of(package, plan, dataset, transfer, cases)
        files = {**files, **parent_file(package, transfer)}
    kind = choose_device(options.device).torch_device.type
    options = structs.replace(own.named(options.by(plan)), recipe=options.recipe_on(kind))
    if plan is not None:
        plan = with_options(plan, options, modality=dataset.modality)
        plan = own.planned(plan, classes=plan.outputs(dataset.labels))
    _check_regions(dataset, options, plan)
    create_run_folder(run, options, {**files, **first_files(plan, dataset.source)})
    return options


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
    dataset = dataset if parent is None else named_as(dataset, parent.labels)
    training, held_out_cases = dataset.fold(options.fold)
    device = device_here(options.device)
    fabric = fabric_on(device)
    plan = plan_of_run(dataset, run, options, own, device, look, training)
    same_plan(run, plan)
    sides = side_sentence(exchanged=plan.exchanges_sides, doubt=side_doubt(dataset.labels))
    for sentence in (sides, *_changes(plan, options, parent, dataset.labels)):
        if sentence:
            tell(progress, sentence)
    torch.manual_seed(options.seed)
    classes = plan.outputs(dataset.labels)
    network = build_network(plan, classes=classes, given=own.network)
    if options.pretrained and not (run / CHECKPOINT).is_file():
        report = load_into_encoder(network, Path(options.pretrained), inflate=options.inflate)
        write_bytes(run / PRETRAINED, encode(report))
    network = network.to(device.torch_device)
    predictor = Predictor(network, plan, dataset.labels, device, transforms=own.transforms)
    logits = try_network(network, plan, classes=classes)
    try_loss(build_loss(plan, given=own.loss), logits, name=plan.loss.name)
    prepared = prepare(dataset, training, plan, run, own, progress)
    held_out = prepare_held_out(
        dataset, held_out_cases, plan, cache_of(run), transforms=own.transforms, progress=progress
    )
    validation = Validation(
        functools.partial(mean_dice, predictor, regions=dataset.regions),
        held_out,
        functools.partial(rehearse, run, dataset),
    )
    start = time.monotonic()
    if parent is not None and not (run / CHECKPOINT).is_file():
        load_parent_weights(network, find_package(str(options.start)), parent, dataset.labels)
        network.eval()
        measure_before(validation, run, parent, progress)
    steps = options.total_steps(cases=len(training), batch=plan.batch)
    ranks().check_batch(plan.batch)
    from_leader(fabric, 0)
    trainer = Trainer(
        network,
        plan,
        structs.replace(options, steps=steps),
        device,
        fabric,
        run,
        validation,
        own,
        seconds=time.monotonic() - start,
    )
    trainer.resume()
    trainer.fit(prepared, progress=progress)
    leave(fabric)
    network.eval()
    return _packed(
        dataset,
        predictor,
        options,
        trainer,
        validation,
        trained_on=len(training),
        progress=progress,
    )


def _packed(
    dataset: Dataset,
    predictor: Predictor,
    options: TrainingOptions,
    trainer: Trainer,
    validation: Validation,
    *,
    trained_on: int,
    progress: Progress,
) -> Path:
    """The model's folder: the checkpoint that was asked for, measured on the held-out cases."""
    run, network, plan = trainer.run, predictor.network, predictor.plan
    _, facts = choose_checkpoint(run, network, options, trainer.state)
    round_as_stored(network)
    facts = training_facts(options, plan, trainer.state) | facts
    facts["device"] = predictor.device.description.split(",")[0]
    scores = dice_of(measure_held_out(run, predictor, validation.cases, dataset, progress=progress))
    manifest = with_parent(manifest_of(dataset, plan, options, scores, facts, trained_on), run)
    package = save_package(run / MODEL, manifest, network)
    if options.postprocess:
        choice = choose_postprocessing(
            predictor, validation.cases, regions=dataset.regions, progress=progress
        )
        package = save_package(run / MODEL, postprocessed(manifest, choice), network)
    return package.folder


def _changes(
    plan: Plan, options: TrainingOptions, parent: ParentModel | None, labels: LabelTable
) -> list[str]:
    """What is not as in the model that a run starts from, or as it was planned."""
    transfer = parent.transfer if parent else None
    changes = transfer.sentences if transfer else []
    weights = weights_sentence(plan, labels)
    batch = f"Batch: {plan.batch} patches in a step, as asked for." if options.batch else ""
    return [*changes, weights, batch]


def _check_regions(dataset: Dataset, options: TrainingOptions, plan: Plan | None) -> None:
    """Refuse what cannot go with the dataset's regions, before anything is made."""
    regions = class_regions(dataset.regions)
    if plan is not None and plan.regions != regions:
        raise PlanError(
            f"the plan has the regions {plan.regions} and the dataset '{dataset.name}' has"
            f" {regions} (class indices); put the dataset's into the plan, or plan again"
        )
    loss = plan.loss.name if plan else options.loss or LOSS
    loss_choice(loss, regions=regions)
    check_class_weights(options, dataset.labels, loss=loss, has_regions=bool(regions))


def plan_of_run(
    dataset: Dataset,
    run: Path,
    options: TrainingOptions,
    own: OwnParts,
    device: Device,
    look: Look,
    training: Sequence[Case],
) -> Plan:
    """The run's plan, saved before anything is prepared; the stored one of a run that began."""
    stored, kept = run / PLAN, read_identity(run)
    if stored.is_file() and kept is not None and kept.plan:
        return read_plan(stored)
    if stored.is_file():
        plan = read_plan(stored)
    else:
        fingerprint = fingerprint_of([look.sketches[case.name] for case in training])
        plan = plan_for(dataset, fingerprint, options, own, device)
        write_bytes(run / "fingerprint.json", encode(fingerprint))
    plan = with_class_weights(plan, options, dataset.labels, look.facts_of(training))
    write_bytes(stored, encode(plan))
    return plan


def prepare(
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
        prepared.append(prepare_case(dataset, case, plan, cache_of(run), own.transforms))
    return prepared
