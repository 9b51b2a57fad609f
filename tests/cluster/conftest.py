"""Tasks for a pool, and Dask clusters of processes on the loopback interface."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import stand_ins
from medseg.model_package import find_package
from medseg.workflows.record import model_digest
from medseg_pipelines.batch.messages import Result, ScanRecord, Settings, Task
from medseg_pipelines.batch.workers.protocol import Step, WorkerDied
from medseg_pipelines.cluster import pool_of

LONG = 240.0
"""Seconds: workers start slowly on a busy machine."""

_numbers = itertools.count(1)
QUIET = ("--no-dashboard",)
OLD = "import medseg; medseg.__version__ = '0.0.1';"
BARE = "import sys; sys.modules['medseg_pipelines'] = None;"


class Tasks:
    """Makes tasks whose files say what is to be done."""

    def __init__(self, folder):
        self.folder = folder
        self.staging = folder / "staging"
        self.staging.mkdir()
        self.package = find_package("hippocampus-mr")

    def __call__(self, text, **changes):
        name = f"{next(_numbers):03d}"
        scan = self.folder / f"scan-{name}"
        if text is not None:
            scan.write_text(text)
        found = ScanRecord(key=name, lineage=name, path=str(scan), folder=name, signature=name)
        fields = {
            "case": f"case{name}",
            "token": f"token{name}",
            "scan": found,
            "device": "cpu",
            "staging": str(self.staging / f"token{name}"),
            "model": str(self.package.folder),
            "model_digest": model_digest(self.package),
            "settings": Settings(),
        }
        return Task(**fields | changes)


@pytest.fixture
def tasks(tmp_path):
    return Tasks(tmp_path)


@pytest.fixture(scope="module")
def _processes():
    pool = pool_of("local:2", work=stand_ins.as_the_file_says)()
    yield pool
    pool.close()


@pytest.fixture
def two_workers(_processes):
    """Two processes on this machine, started by us, with nothing in hand."""
    until(lambda: _processes.capacity == 4)
    yield _processes
    for case in list(_processes._in_flight):
        _processes.kill(case)


def endings(pool, *tasks):
    """Submit tasks; how each ended, by case, and the steps that were told."""
    for task in tasks:
        pool.submit(task)
    return wait_for(pool, {task.case for task in tasks})


def wait_for(pool, cases):
    ended, steps = {}, []
    deadline = time.monotonic() + LONG
    while set(ended) < cases:
        assert time.monotonic() < deadline, f"not heard of: {cases - set(ended)}"
        for one in pool.events(1.0):
            if isinstance(one, Step):
                steps.append(one)
                continue
            names = one.cases if isinstance(one, WorkerDied) else (one.case,)
            assert not set(names) & set(ended), "a case ended twice"
            ended.update(dict.fromkeys(names, one))
    return ended, steps


def begun(pool, case):
    """Wait until a case is begun."""
    deadline = time.monotonic() + LONG
    while not any(isinstance(one, Step) and one.case == case for one in pool.events(1.0)):
        assert time.monotonic() < deadline


def listen(pool):
    """Hear nothing until the pool raises."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        pool.events(1.0)


def states(ended):
    return {case: one.state if isinstance(one, Result) else one.code for case, one in ended.items()}


class Site:
    """A scheduler and workers that were started by hand, as a site would."""

    def __init__(self, folder):
        self.file = folder / "scheduler.json"
        self.folder = folder
        self.processes = []
        self.scheduler = self._start(
            "dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--scheduler-file",
            str(self.file),
        )
        until(self._is_up)

    def _is_up(self):
        return self.file.exists() and self.file.read_text().rstrip().endswith("}")

    @property
    def address(self):
        return json.loads(self.file.read_text())["address"]

    def workers(self):
        """How many have joined."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return len(client.nthreads())

    def worker(self, *options, before=""):
        """Start a worker; `before` is run in its process first."""
        return self._start(
            "dask_worker",
            "--scheduler-file",
            str(self.file),
            "--host",
            "127.0.0.1",
            *options,
            "--local-directory",
            str(self.folder),
            before=before,
        )

    def _start(self, module, *options, before=""):
        code = f"{before}from distributed.cli.{module} import main; main()"
        path = ":".join(one for one in sys.path if one)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *QUIET, *options],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    here = Site(folder)
    yield here
    here.close()


def until(happened):
    deadline = time.monotonic() + LONG
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def marks(tasks):
    return list(Path(tasks.staging).iterdir())
