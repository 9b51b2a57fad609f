"""Where workers are: a scheduler that is there, processes of this machine, or jobs of SLURM."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask

dask.config.set({"logging": {"distributed": "critical"}})  # what matters is told by us

from distributed import Client, LocalCluster, Security  # noqa: E402 - logs are set up on import

from medseg.errors import InputError  # noqa: E402
from medseg.runtime.processor import core_count  # noqa: E402
from medseg_pipelines.cluster.slurm_file import SlurmFile  # noqa: E402

PRELOAD = "medseg_pipelines.cluster.gpus"
LOST = (OSError, TimeoutError, ValueError, RuntimeError)
"""What Dask raises when the scheduler or a worker is gone."""

CONNECT_SECONDS = 15.0
START_SECONDS = 120.0
_PRIVATE = "127.0.0.1:0"
_OURS: dict[str, Any] = {
    # The results are files: there is nothing to spill, and a worker that waits for memory to
    # become free, as Dask would have it, waits for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # Nothing is served to browsers.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


@dataclass(frozen=True)
class Backend:
    """A connection to a Dask scheduler."""

    client: Client
    name: str  # for messages, such as ``"the cluster at tcp://10.0.0.1:8786"``
    cluster: Any = None  # what was started for this run, to be closed after the connection
    # keys of encrypted connections, to be removed in the end
    keys: TemporaryDirectory[str] | None = None

    def close(self, seconds: float) -> None:
        """Close the connection, and end what was started for this run."""
        with suppress(*LOST):
            self.client.close(timeout=seconds)
        if self.cluster is not None:
            self.cluster.close()
        if self.keys is not None:
            self.keys.cleanup()


def at(address: str) -> Backend:
    """Connect to the scheduler at ``HOST:PORT``; raises `InputError` when nobody answers."""
    name = f"the cluster at {address}"
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="medseg")
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at '{address}' within {CONNECT_SECONDS:.0f} s"
            f" ({_short(error)}); check address and port, and start one with `dask scheduler`",
            code="CLUSTER",
        ) from error
    return Backend(client, name)


def by_file(path: Path) -> Backend:
    """Connect to the scheduler that wrote a scheduler file; `InputError` when there is none."""
    try:
        address = json.loads(path.read_text("utf-8"))["address"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--cluster: '{path}' is no scheduler file ({_short(error)}); `dask scheduler"
            " --scheduler-file FILE` writes one",
            code="CLUSTER",
        ) from error
    return at(str(address))


def local(count: int) -> Backend:
    """Start worker processes on this machine; nobody else can reach them."""
    threads = max(1, core_count() // count)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    spawn = {"distributed.nanny.pre-spawn-environ": dict.fromkeys(names, threads)}
    with dask.config.set(_OURS | spawn):
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            security=Security.temporary(),
            protocol="tls://",
            dashboard_address=_PRIVATE,
            worker_dashboard_address=_PRIVATE,
            silence_logs=logging.CRITICAL,
            preload=[PRELOAD],
        )
    return _connected(cluster, f"{count} processes on this machine", at_least=count)


def slurm(file: SlurmFile) -> Backend:
    """Ask SLURM for jobs, whose workers join as they start; `InputError` when it takes none."""
    from dask_jobqueue import SLURMCluster

    try:
        keys = TemporaryDirectory(prefix=".medseg-keys-", dir=Path(file.keys).expanduser())
    except OSError as error:
        raise InputError(
            f"--cluster: the folder of keys '{file.keys}' cannot be written: {error.strerror}; give"
            " one that all machines see and only you can read",
            code="CLUSTER",
        ) from error
    with dask.config.set(_OURS):
        cluster = SLURMCluster(**slurm_arguments(file, Path(keys.name)))
    try:
        _try_to_submit(cluster.job_script())
    except InputError:
        cluster.close()
        keys.cleanup()
        raise
    cluster.scale(jobs=file.jobs)
    return _connected(cluster, f"{file.jobs} jobs of SLURM", keys=keys)


def _try_to_submit(script: str) -> None:
    """Ask SLURM whether it would take a job; Dask would not tell."""
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise InputError(
            "--cluster slurm: there is no sbatch on this machine; start the run where jobs are"
            " submitted",
            code="CLUSTER",
        )
    with TemporaryDirectory(prefix="medseg-") as folder:
        path = Path(folder, "job.sh")
        path.write_text(script, encoding="utf-8")
        command = [sbatch, "--test-only", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        reason = " ".join(done.stderr.split())[-200:]
        raise InputError(
            f"SLURM does not take the jobs: {reason}; see to the file of --cluster", code="CLUSTER"
        )


def slurm_arguments(file: SlurmFile, keys: Path) -> dict[str, Any]:
    """What dask-jobqueue is told: one thread for each worker process, the CPUs shared out."""
    threads = max(1, file.cpus // file.workers)
    exports = [
        *(f"export {name}_NUM_THREADS={threads}" for name in ("OMP", "MKL", "OPENBLAS")),
        *(
            f"export DASK_{key.upper().replace('.', '__')}={shlex.quote(str(value))}"
            for key, value in _OURS.items()
        ),
    ]
    return {
        "cores": file.workers,
        "processes": file.workers,
        "job_cpu": file.cpus,
        "memory": file.memory,
        "walltime": file.walltime,
        "queue": file.partition,
        "account": file.account,
        "interface": file.interface,
        "python": file.python,
        "job_extra_directives": list(file.directives),
        "job_script_prologue": [*exports, *file.prologue],
        "worker_extra_args": ["--preload", PRELOAD, "--dashboard-address", _PRIVATE],
        "log_directory": file.logs,
        "security": _security_in(keys),
        "scheduler_options": {"dashboard_address": _PRIVATE},
        "silence_logs": logging.CRITICAL,
    }


def _security_in(folder: Path) -> Security:
    """New keys, written into a folder, for all that talk in this run."""
    config = Security.temporary().get_tls_config_for_role("worker")
    paths = {name: str(folder / name) for name in ("ca_file", "cert", "key")}
    for name, path in paths.items():
        Path(path).write_text(config[name], encoding="utf-8")
    roles = ("client", "scheduler", "worker")
    files = {f"tls_{role}_{name}": paths[name] for role in roles for name in ("cert", "key")}
    return Security(tls_ca_file=paths["ca_file"], require_encryption=True, **files)


def _connected(
    cluster: Any, name: str, *, keys: TemporaryDirectory[str] | None = None, at_least: int = 0
) -> Backend:
    """Connect to a cluster that was started for this run, and wait for its workers."""
    try:
        client = Client(cluster, set_as_default=False, name="medseg")
        if at_least:
            client.wait_for_workers(at_least, timeout=START_SECONDS)
    except BaseException:
        cluster.close()
        raise
    return Backend(client, name, cluster, keys)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
