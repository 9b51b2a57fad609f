"""What a worker makes of an order, without a cluster around it."""

import errno
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from cluster import stand_ins
from medseg import __version__
from medseg_pipelines.batch.workers.protocol import WorkerDied
from medseg_pipelines.cluster import remote_task
from medseg_pipelines.cluster.remote_task import (
    BEGUN,
    Heartbeat,
    begun_mark,
    run_remote,
)


@pytest.fixture
def give(monkeypatch):
    """Carry an order out here; what it returned, and what it told."""
    told = []

    def tell(topic, text):
        assert topic == "topic"
        told.append(msgspec.json.decode(text, type=Heartbeat))

    here = SimpleNamespace(
        address="tcp://here:1", state=SimpleNamespace(nthreads=1), log_event=tell
    )
    monkeypatch.setattr(remote_task, "get_worker", lambda: here)

    def call(task, *, version=__version__, work=stand_ins.as_the_file_says):
        told.clear()
        returned = run_remote(version, "topic", msgspec.json.encode(task), work)
        return returned, list(told)

    return call


def test_steps_are_told_and_then_the_answer(give, tasks):
    task = tasks("pass")
    returned, told = give(task)
    assert returned == ("tcp://here:1", "")
    assert [(one.case, one.token, one.worker) for one in told] == [
        (task.case, task.token, "tcp://here:1")
    ] * 2
    assert told[0].report.stage == "read"
    assert told[1].report.state == "done"


def test_many_steps_are_told_now_and_then(give, tasks):
    _, told = give(tasks("wait 0.5"))
    assert len(told) == 2, "one step of the many, and the answer"


def test_a_task_that_was_begun_is_not_begun_again(give, tasks):
    task = tasks("die")
    begun_mark(task).touch()
    _, told = give(task)
    assert isinstance(told[0].report, WorkerDied)
    assert told[0].report.cases == (task.case,)


def test_an_order_of_another_version_is_not_even_read(give, tasks):
    (worker, unfit), told = give(tasks("die"), version="0.0.1")
    assert worker == "tcp://here:1"
    assert f"it has medseg {__version__}, this run is medseg 0.0.1" in unfit
    assert not told


def test_a_worker_that_is_not_fit_leaves_no_mark(give, tasks):
    task = tasks("refuse no such device")
    _, told = give(task)
    assert told[-1].report.why == "it cannot begin: no such device"
    assert not begun_mark(task).exists()


def test_an_archive_that_is_not_seen_makes_the_worker_unfit(give, tasks):
    _, told = give(tasks(None))
    assert "it does not see the archive" in told[-1].report.why


@pytest.mark.parametrize(
    ("number", "code", "unfit"),
    [(errno.ENOSPC, "DISK_FULL", ""), (errno.EROFS, None, "it cannot write into the output")],
)
def test_a_full_disk_is_nobody_s_fault(give, tasks, monkeypatch, number, code, unfit):
    task = tasks("pass")
    opened = Path.open

    def fail(path, *arguments, **more):
        if path.suffix == BEGUN:
            raise OSError(number, "no")
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", fail)
    _, told = give(task)
    report = told[-1].report
    if code:
        assert report.fault.code == code
    else:
        assert report.why.startswith(unfit)


def test_the_device_is_that_of_the_worker_unless_one_was_asked_for(give, tasks, monkeypatch):
    monkeypatch.setattr(remote_task, "own_device", lambda: "cuda:3")
    devices = {}
    for asked in ("auto", "cpu"):
        _, told = give(tasks("pass", device=asked))
        devices[asked] = told[-1].report.content
    assert devices == {"auto": "cuda:3", "cpu": "cpu"}
