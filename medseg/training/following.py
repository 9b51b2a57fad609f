"""A training's other processes: each learns its part of every batch, and writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from msgspec import structs

from medseg.networks import build_network
from medseg.planning import read_plan
from medseg.runtime.progress import silent
from medseg.training.cache import prepare_case
from medseg.training.dataset import Dataset
from medseg.training.distributed import device_here, ending_together, fabric_on, from_leader, leave
from medseg.training.fine_tuning import named_as, read_parent
from medseg.training.own_parts import OwnParts
from medseg.training.resuming import reopen_dataset, stored_options
from medseg.training.run_status import CACHE, MODEL, PLAN
from medseg.training.trainer import Trainer
from medseg.training.validation import Validation


def follow(
    run: Path, dataset: Dataset | Path | None = None, *, device: str, own: OwnParts | None = None
) -> Path:
    """Take part in a run that the first process leads.

    Parameters
    ----------
    run : Path
        Its folder, which this process sees too.
    dataset : Dataset or Path, optional
        Where it is not where the run says.
    device : str
    own : OwnParts, optional
        Of Python, as in the first process.

    Returns
    -------
    Path
        Where the first process will put the model.
    """
    own = replace(own or OwnParts(), callbacks=())
    here = device_here(device)
    fabric = fabric_on(here)
    with ending_together(fabric):
        from_leader(fabric, 0)  # the run is planned, and its cases are prepared
        options = stored_options(run)
        opened = dataset if isinstance(dataset, Dataset) else reopen_dataset(run, dataset)
        parent = read_parent(run)
        opened = opened if parent is None else named_as(opened, parent.labels)
        cases, _ = opened.fold(options.fold)
        plan = read_plan(run / PLAN)
        torch.manual_seed(options.seed)
        network = build_network(plan, classes=plan.outputs(opened.labels), given=own.network)
        prepared = [prepare_case(opened, case, plan, run / CACHE, own.transforms) for case in cases]
        steps = options.total_steps(cases=len(cases), batch=plan.batch)
        trainer = Trainer(
            network.to(here.torch_device),
            plan,
            structs.replace(options, steps=steps),
            here,
            fabric,
            run,
            Validation(dict, (), id),
            own,
        )
        trainer.resume()
        trainer.fit(prepared, progress=silent)
    leave(fabric)
    return run / MODEL
