"""A pool of processes on this machine: each case ends once, whoever dies."""

import pytest

from cluster import stand_ins
from cluster.conftest import begun, endings, listen, marks, states, until
from medseg.errors import InputError
from medseg_pipelines.batch.workers.protocol import Step
from medseg_pipelines.cluster import pool_of


def test_every_task_ends_once_and_leaves_nothing(two_workers, tasks):
    all_of_them = [tasks("pass") for _ in range(7)]
    ended, steps = endings(two_workers, *all_of_them)
    assert states(ended) == dict.fromkeys((one.case for one in all_of_them), "done")
    assert {one.token for one in all_of_them} == {one.token for one in ended.values()}
    assert Step(case=all_of_them[0].case, stage="read") in steps
    assert marks(tasks) == []


def test_two_processes_work(two_workers, tasks):
    ended, _ = endings(two_workers, *(tasks("wait 0.5") for _ in range(4)))
    assert len({one.seconds["process"] for one in ended.values()}) == 2
    assert two_workers.capacity == 4


def test_only_the_case_that_ends_its_worker_has_died(two_workers, tasks):
    bad, good = tasks("die"), [tasks("wait 0.2") for _ in range(5)]
    ended, _ = endings(two_workers, *good[:2], bad, *good[2:])
    assert states(ended) == {bad.case: "WORKER_DIED"} | {one.case: "done" for one in good}
    assert marks(tasks) == []


def test_an_error_in_the_work_is_a_failure_without_its_words(two_workers, tasks):
    task = tasks("raise CANARY^NAME")
    ended, _ = endings(two_workers, task)
    assert ended[task.case].state == "failed"
    assert ended[task.case].fault.code == "KeyError"
    assert "CANARY" not in str(ended[task.case])


def test_a_scan_that_is_gone_is_the_case_s_own_fault(two_workers, tasks):
    task = tasks(None)
    ended, _ = endings(two_workers, task)
    assert ended[task.case].fault.code == "VANISHED"
    until(lambda: two_workers.capacity == 4)  # no worker is to blame


def test_nothing_is_heard_of_a_killed_case(two_workers, tasks):
    long, after = tasks("wait 600"), tasks("pass")
    two_workers.submit(long)
    begun(two_workers, long.case)
    two_workers.kill(long.case)
    ended, steps = endings(two_workers, after)
    assert set(ended) == {after.case}
    assert all(step.case == after.case for step in steps)
    assert marks(tasks) == []


def test_a_case_can_be_killed_that_nobody_has_begun(two_workers, tasks):
    first = [tasks("wait 1") for _ in range(2)]
    waiting, after = tasks("die"), tasks("pass")
    for task in (*first, waiting):
        two_workers.submit(task)
    two_workers.kill(waiting.case)
    ended, _ = endings(two_workers, after)
    assert waiting.case not in ended


@pytest.mark.slow
def test_a_case_that_gets_no_further_is_given_up(two_workers, tasks, monkeypatch):
    monkeypatch.setattr(two_workers, "_stall_timeout_s", 3.0)
    hanging, slow = tasks("hang 600"), tasks("wait 6")
    ended, _ = endings(two_workers, hanging, slow)
    assert states(ended) == {hanging.case: "TOO_SLOW", slow.case: "done"}


def test_a_worker_that_cannot_begin_is_not_used_and_the_case_not_blamed(tasks):
    pool = pool_of("local:1", work=stand_ins.as_the_file_says)()
    try:
        pool.submit(tasks("refuse the weights are gone"))
        with pytest.raises(InputError, match="the weights are gone"):
            listen(pool)
    finally:
        pool.close()
    assert marks(tasks) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_digest": "0" * 64}, "another one"),
        ({"staging": "/nowhere/staging/token"}, "does not see the output"),
    ],
)
def test_a_worker_that_sees_another_model_or_no_output_is_refused(tasks, change, words):
    pool = pool_of("local:1", work=stand_ins.as_the_file_says)()
    try:
        pool.submit(tasks("pass", **change))
        with pytest.raises(InputError, match=words):
            listen(pool)
    finally:
        pool.close()
