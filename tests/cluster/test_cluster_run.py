"""A batch on a cluster: the same ledger and the same files as one process makes."""

import os
import signal
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from batch_stand_ins import Diary, files_below
from cluster.conftest import Site, until
from hospital.archive import match, write_hospital
from medseg_pipelines.batch.ledger.ledger import Ledger
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.cluster import pool_of
from toy_model import tiny_model

SETTINGS = Settings(formats=("nifti", "preview"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture
def run(model, monkeypatch):
    """Run an archive into a folder, with workers or one after another."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(root, output, *, pool=None, events=None):
        options = BatchOptions(settings=SETTINGS, device="cpu", pool=pool)
        return run_batch(root, model=model, output=output, options=options, events=events)

    return call


class Disturbed(Diary):
    """Does something to the pool once each: when so many cases have ended."""

    def __init__(self, text, deeds):
        super().__init__()
        self.deeds, self.pool, self._text = dict(deeds), None, text

    def make(self):
        self.pool = pool_of(self._text)()
        return self.pool

    def case_progress(self, case, stage, done, total):
        due = [count for count in self.deeds if count <= len(self.rows)]
        for count in due:
            self.deeds.pop(count)(self.pool, case)


def kill_its_worker(pool, case):
    worker = pool._in_flight[case].worker
    os.kill(pool._client.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)


class Standstill(Disturbed):
    """Stops a worker in the middle of a case, and lets it go on once the case has been given up."""

    def __init__(self, text):
        super().__init__(text, {3: self.stop})
        self.pid, self.given_up = None, False

    def stop(self, pool, case):
        worker = pool._in_flight[case].worker
        self.pid = pool._client.run(os.getpid, workers=[worker])[worker]
        os.kill(self.pid, signal.SIGSTOP)

    def on_message(self, message):
        super().on_message(message)
        if "WORKER_DIED" in message and not self.given_up:
            self.given_up = True
            with suppress(ProcessLookupError):  # a nanny has ended it
                os.kill(self.pid, signal.SIGCONT)


def add_a_worker(pool, case):
    pool._backend.cluster.scale(len(pool._backend.cluster.workers) + 1)


def retire_its_worker(pool, case):
    pool._client.retire_workers([pool._in_flight[case].worker])


def truths(output):
    """What the ledger says, but for who did it and when."""
    with Ledger.of(output) as ledger:
        return {
            row.folder: (row.state, row.code, row.content, row.volumes_ml, row.warnings)
            for row in ledger.rows()
        }


def results(output):
    """The bytes of all results; records tell times."""
    return {
        name: content
        for name, content in files_below(output).items()
        if not name.endswith("case.json")
    }


def judged(expected, output):
    """Codes that differ from what was expected; series without a row; rows without a series."""
    with Ledger.of(output) as ledger:
        found = [(Path(row.scan.path), row.scan.series, row.code) for row in ledger.rows()]
    pairs, missing, surplus = match(expected, found)
    return [(one.kind, code) for one, code in pairs if one.code != code], missing, surplus


def same(one, other):
    assert truths(one) == truths(other)
    assert results(one) == results(other)


@pytest.mark.slow
def test_a_batch_on_a_cluster_ends_as_one_in_a_row(run, tmp_path):
    expected = write_hospital(tmp_path / "hospital", count=20, bad=0.5)
    run(tmp_path / "hospital", tmp_path / "serial")
    events = Disturbed("local:2", {3: kill_its_worker})
    tally = run(tmp_path / "hospital", tmp_path / "cluster", pool=events.make, events=events)
    assert not events.deeds, "a worker was killed"
    assert tally.left == 0
    same(tmp_path / "cluster", tmp_path / "serial")
    assert judged(expected, tmp_path / "cluster") == ([], [], [])
    assert list((tmp_path / "cluster" / ".medseg" / "staging").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_a_worker_that_stands_still_is_given_up_and_may_come_back(
    run, tmp_path, monkeypatch, nanny
):
    write_hospital(tmp_path / "hospital", count=20, bad=0.5)
    run(tmp_path / "hospital", tmp_path / "serial")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "10s")
    with closing(Site(tmp_path)) as site:
        for _ in range(2):
            site.worker("--nthreads", "1", nanny)
        until(lambda: site.workers() == 2)
        events = Standstill(str(site.file))
        run(tmp_path / "hospital", tmp_path / "cluster", pool=events.make, events=events)
        assert events.given_up
        same(tmp_path / "cluster", tmp_path / "serial")
        time.sleep(5)  # what comes back late may still write, where nobody looks
        run(tmp_path / "hospital", tmp_path / "cluster")
    same(tmp_path / "cluster", tmp_path / "serial")
    assert list((tmp_path / "cluster" / ".medseg" / "staging").iterdir()) == []


@pytest.mark.slow
def test_200_series_on_4_workers_of_which_one_is_killed_one_added_and_one_retired(run, tmp_path):
    expected = write_hospital(tmp_path / "hospital")
    run(tmp_path / "hospital", tmp_path / "serial")
    deeds = {20: add_a_worker, 60: kill_its_worker, 120: retire_its_worker}
    events = Disturbed("local:4", deeds)
    tally = run(tmp_path / "hospital", tmp_path / "cluster", pool=events.make, events=events)
    assert not events.deeds
    assert (tally.left, tally.failed) == (0, 0)
    same(tmp_path / "cluster", tmp_path / "serial")
    assert judged(expected, tmp_path / "cluster") == ([], [], [])
