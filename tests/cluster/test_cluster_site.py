"""A cluster that others started: workers come and go, and some are not fit."""

import pytest

from cluster import stand_ins
from cluster.conftest import BARE, OLD, begun, endings, listen, states, until, wait_for
from medseg.errors import InputError, MedsegError
from medseg_pipelines.cluster import pool_of


@pytest.fixture
def pool(site):
    """Connects when called; closed afterwards."""
    made = []

    def connect(text=None):
        made.append(pool_of(text or str(site.file), work=stand_ins.as_the_file_says)())
        return made[-1]

    yield connect
    for one in made:
        one.close()


def workers(pool):
    return pool._client.nthreads()


def test_workers_come_and_go(site, pool, tasks):
    first = site.worker("--nthreads", "1", "--no-nanny")
    pool = pool()
    cases = [tasks("wait 0.5") for _ in range(8)]
    for task in cases:
        pool.submit(task)
    begun(pool, cases[0].case)
    site.worker("--nthreads", "1", "--no-nanny")
    until(lambda: len(workers(pool)) == 2)
    first.terminate()
    ended, _ = wait_for(pool, {task.case for task in cases[1:]})
    lost = [case for case, state in states(ended).items() if state == "WORKER_DIED"]
    assert len(lost) <= 1, "only what was begun can be lost"
    assert set(states(ended).values()) <= {"done", "WORKER_DIED"}


def test_a_lost_scheduler_is_one_sentence(site, pool, tasks):
    site.worker("--nthreads", "1")
    pool = pool(site.address)
    task = tasks("wait 600")
    pool.submit(task)
    begun(pool, task.case)
    site.scheduler.kill()
    with pytest.raises(MedsegError, match="is gone; finished cases are kept") as caught:
        listen(pool)
    assert caught.value.code == "SCHEDULER_LOST"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "before", "words"),
    [
        (("--nthreads", "1"), OLD, "it has medseg 0.0.1, this run is medseg"),
        (("--nthreads", "2"), "", "--nthreads 1"),
        (("--nthreads", "1"), BARE, "cannot be imported there"),
    ],
    ids=["another version", "two threads", "no medseg"],
)
def test_unfit_workers_are_refused_before_anything_is_begun(site, pool, options, before, words):
    site.worker(*options, "--no-nanny", before=before)
    until(lambda: site.workers() == 1)
    with pytest.raises(InputError, match=words) as caught:
        pool()
    assert caught.value.code == "CLUSTER"


def test_an_unfit_worker_that_comes_late_is_passed_over(site, pool, tasks, caplog):
    site.worker("--nthreads", "1", "--no-nanny")
    until(lambda: site.workers() == 1)
    pool = pool()
    site.worker("--nthreads", "1", "--no-nanny", before=OLD)
    until(lambda: len(workers(pool)) == 2)
    cases = [tasks("wait 0.3") for _ in range(6)]
    ended, _ = endings(pool, *cases)
    assert set(states(ended).values()) == {"done"}
    assert len({one.seconds["process"] for one in ended.values()}) == 1
    assert "it has medseg 0.0.1" in caplog.text
    assert pool.capacity == 2
