"""A network as a run has it by now: for a look at what it makes of a case while it learns."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import InputError
from medseg.inference import Predictor
from medseg.networks import build_network
from medseg.planning import read_plan
from medseg.runtime.device import choose_device
from medseg.training.checkpoint import load_network
from medseg.training.fine_tuning import read_parent
from medseg.training.run_status import CHECKPOINT, PLAN
from medseg.volume import LabelTable


def predictor_of_checkpoint(
    run: str | Path, labels: LabelTable, *, device: str = "cpu"
) -> tuple[Predictor, int]:
    """The network of a run's newest checkpoint, which is saved every half minute.

    Parameters
    ----------
    run : str or Path
        Its folder; the run may be going on.
    labels : LabelTable
        Of the dataset it learns from.
    device : str, default "cpu"
        Where to look; the run itself may need the better one.

    Raises
    ------
    InputError
        When there is no checkpoint yet.
    ReadError
        When it is damaged or of another network.
    """
    folder = Path(run)
    path = folder / CHECKPOINT
    if not path.is_file():
        raise InputError(
            f"run '{folder.name}' has no checkpoint yet; the first one comes after half a minute of"
            " training"
        )
    plan = read_plan(folder / PLAN)
    parent, where = read_parent(folder), choose_device(device)
    table = labels if parent is None else parent.labels
    network = build_network(plan, classes=plan.outputs(table))
    state = load_network(path, network)
    return Predictor(network.eval().to(where.torch_device), plan, table, where), state.step
