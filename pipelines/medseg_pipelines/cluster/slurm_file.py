"""The file behind ``--cluster slurm:FILE``: what each job asks SLURM for, as strict TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from medseg.errors import InputError

_Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[^\s'\"$`;|&<>]+$")]


class SlurmFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs of one kind."""

    jobs: _Count
    workers: _Count = 1  # processes in each job, one case each; two for each GPU keep it busy
    cpus: _Count = 4
    # of each job, such as ``"32GB"``
    memory: Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$")]
    # of each job, ``"HH:MM:SS"`` or ``"D-HH:MM:SS"``
    walltime: Annotated[str, msgspec.Meta(pattern=r"^(\d+-)?\d{1,3}:\d\d:\d\d$")]
    partition: _Word | None = None  # partition, account: Where the site asks for them
    account: _Word | None = None
    interface: _Word | None = None  # network that machines reach one another by, such as ``"ib0"``
    # more options of sbatch, such as ``"--gres=gpu:1"``
    directives: tuple[Annotated[str, msgspec.Meta(pattern=r"^-[^\n]*$")], ...] = ()
    # shell lines before the workers start, such as ``"module load cuda"``
    prologue: tuple[Annotated[str, msgspec.Meta(pattern=r"^[^\n]*$")], ...] = ()
    python: str | None = None  # interpreter of the workers; that of this run by default
    logs: str | None = None  # folder for what jobs print
    # folder that all machines see and only you can read: the keys of this run's encrypted
    # connections lie there while it works
    keys: str = "~"


def read_slurm_file(path: Path) -> SlurmFile:
    """Read such a file.

    Raises `InputError` when it cannot be read, is no TOML, or says something that is not known.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=SlurmFile)
    except OSError as error:
        why = error.strerror or str(error)
    except (msgspec.DecodeError, ValueError) as error:
        why = str(error)
    raise InputError(
        f"--cluster: '{path}' cannot be used: {why}; docs/how-to/cluster.md shows such a file",
        code="CLUSTER",
    )
