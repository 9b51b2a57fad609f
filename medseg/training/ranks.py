"""Which of the processes of one training this is, as torchrun or SLURM says; without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from medseg.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """The place of a process among those of one training.

    Parameters
    ----------
    rank : int
        Of this process; 0 leads: it alone prepares, measures, writes and speaks.
    size : int
        Processes in all.
    local_rank, local_size : int
        The same among those on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the first."""
        return self.rank == 0

    def check_batch(self, batch: int) -> None:
        """Refuse a batch that leaves a process without a patch.

        Raises
        ------
        InputError
            When it has fewer patches than there are processes.
        """
        if batch < self.size:
            raise InputError(
                f"a step of {batch} patches cannot be shared by {self.size} devices; take fewer, or"
                f" give --batch {self.size} or more"
            )


def ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """The place of this process; one alone where nobody started several.

    Parameters
    ----------
    environment : mapping of str to str, optional
        In place of the process's own. torchrun sets ``RANK`` and its like, ``srun`` those of SLURM
        for a job step.
    """
    values = os.environ if environment is None else environment
    if "TORCHELASTIC_RUN_ID" in values:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Ranks(*(int(values[name]) for name in names))
    size = int(values.get("SLURM_STEP_NUM_TASKS", "1"))
    if size == 1 or "SLURM_PROCID" not in values:
        return Ranks()
    nodes = int(values.get("SLURM_STEP_NUM_NODES", "1"))
    return Ranks(
        int(values["SLURM_PROCID"]), size, int(values.get("SLURM_LOCALID", "0")), size // nodes
    )
