"""A whole SLURM of this machine alone: munged, slurmctld and slurmd of the Debian packages."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONFIGURATION = """\
ClusterName=medseg
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not():
    """Why there can be no SLURM here, or nothing."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"no {', '.join(missing)}: Debian's slurm-wlm and munge are not installed"
    return "" if os.geteuid() == 0 else "SLURM's daemons want to be started by root"


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Slurm:
    """The daemons, started; `environment` makes sbatch and the others speak to them."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        for name in ("state", "spool", "munge"):
            (folder / name).mkdir()
        munge = folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o600)
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(
            host=host, folder=folder, controller=_free_port(), daemon=_free_port()
        )
        (folder / "slurm.conf").write_text(text)
        files = {
            "socket": "socket",
            "key-file": "key",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        self.pids = [munge / "pid", folder / "slurmctld.pid", folder / "slurmd.pid"]
        self.call("munged", "--force", *(f"--{key}={munge / name}" for key, name in files.items()))
        self.call("slurmctld")
        self.call("slurmd")
        self.until(lambda: "idle" in self.call("sinfo", "--noheader", "--format=%T"))

    def call(self, *command):
        """Run a program; what it prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout

    def jobs(self):
        """Ids of jobs that run."""
        return self.call("squeue", "--noheader", "--states=R", "--format=%A").split()

    def until(self, happened, seconds=240):
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def close(self):
        subprocess.run(
            ["scancel", "--full", "--user", "root"],
            env={**os.environ, **self.environment},
            check=False,
            capture_output=True,
        )
        self.until(lambda: not self.call("squeue", "--noheader").strip())
        for path in reversed(self.pids):
            if path.exists():
                os.kill(int(path.read_text()), 15)


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
