"""What a worker makes of an order, without a cluster around it."""

import errno
from pathlib import Path

import msgspec
import pytest

from cluster import stand_ins
from medseg import __version__
from medseg_pipelines.cluster import remote_task
from medseg_pipelines.cluster.remote_task import (
    BEGUN,
    Heartbeat,
    RemoteTask,
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

    here = remote_task._Here("tcp://here:1", 1, tell)
    monkeypatch.setattr(remote_task, "_here", lambda: here)

    def call(task, *, version=__version__, trusting=False, work=stand_ins.as_the_file_says):
        told.clear()
        order = RemoteTask(task=task, topic="topic", trusting=trusting)
        returned = run_remote(version, msgspec.json.encode(order), work)
        return returned, list(told)

    return call


def test_steps_are_told_and_then_the_answer(give, tasks):
    task = tasks("pass")
    returned, told = give(task)
    assert returned == ("tcp://here:1", "")
    assert [(one.case, one.token, one.worker) for one in told] == [
        (task.case, task.token, "tcp://here:1")
    ] * 2
    assert told[0].step.stage == "read"
    assert told[1].answer.result.state == "done"


def test_many_steps_are_told_now_and_then(give, tasks):
    _, told = give(tasks("wait 0.5"))
    assert len(told) == 2, "one step of the many, and the answer"


def test_a_task_that_was_begun_is_not_begun_again(give, tasks):
    task = tasks("die")
    begun_mark(task).touch()
    _, told = give(task)
    assert told[0].answer.begun_before
    assert told[0].answer.result is None


def test_an_order_of_another_version_is_not_even_read(give, tasks):
    (worker, unfit), told = give(tasks("die"), version="0.0.1")
    assert worker == "tcp://here:1"
    assert f"it has medseg {__version__}, this run is medseg 0.0.1" in unfit
    assert not told


def test_a_worker_that_is_not_fit_leaves_no_mark(give, tasks):
    task = tasks("refuse no such device")
    _, told = give(task)
    assert told[-1].answer.unfit == "it cannot begin: no such device"
    assert not begun_mark(task).exists()


def test_an_archive_that_is_not_seen_is_told_apart(give, tasks):
    task = tasks(None)
    _, told = give(task)
    assert told[-1].answer.no_archive
    _, told = give(task, trusting=True)
    assert told[-1].answer.result.fault.code == "NOT_FOUND"


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
    answer = told[-1].answer
    assert (answer.result and answer.result.fault.code) == code
    assert answer.unfit.startswith(unfit)
    assert bool(answer.unfit) == bool(unfit)


def test_the_device_is_that_of_the_worker_unless_one_was_asked_for(give, tasks, monkeypatch):
    monkeypatch.setattr(remote_task, "own_device", lambda: "cuda:3")
    devices = {}
    for asked in ("auto", "cpu"):
        _, told = give(tasks("pass", device=asked))
        devices[asked] = told[-1].answer.result.content
    assert devices == {"auto": "cuda:3", "cpu": "cpu"}
