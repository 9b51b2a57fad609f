"""Runs that are killed, interrupted, or work side by side, each in a process of its own."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batch_stand_ins import Diary, files_below, rows, without_times
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.writing import write_scan
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.workers.local_pool import LocalPool

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals of Linux")
KILLS = int(os.environ.get("MEDSEG_TEST_KILLS", "20"))
_RUN = """
import sys
from pathlib import Path
from medseg.errors import Cancelled
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.workers.local_pool import LocalPool
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.console import Console

archive, model, output = map(Path, sys.argv[1:4])
k, n = map(int, sys.argv[4].split("/"))
console = Console()


class Printed(Events):
    begun = False

    def case_progress(self, *_):
        if not self.begun:
            self.begun = True
            print("begun", flush=True)

    def check(self):
        console.check()


settings = Settings(formats=("nifti", "nrrd"))
options = BatchOptions(settings=settings, device="cpu", attempts=99, shard=(k, n))
with console.listening():
    try:
        tally = run_batch(archive, model=model, output=output, options=options, events=Printed())
        print(tally.done + tally.refused, tally.failed)
    except Cancelled as stop:
        print(stop)
"""


@pytest.fixture
def start(archive, model, output):
    """Start a run in a process of its own."""
    started = []

    def begin(to=output, shard="1/1"):
        command = [sys.executable, "-c", _RUN, str(archive), str(model), str(to), shard]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        run = subprocess.Popen(command, **pipes, text=True)
        started.append(run)
        return run

    yield begin
    for run in started:
        run.kill()
        run.wait()
        run.stdout.close()
        run.stderr.close()


@pytest.fixture
def undisturbed(start, tmp_path):
    """What a run gives that nothing happens to; in a process too, for as many threads."""

    def result():
        output = tmp_path / "undisturbed"
        start(output).communicate()
        return without_times(files_below(output))

    return result


def workers(run):
    """The worker processes of a run."""
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    return [int(one) for one in children.read_text().split()] if children.exists() else []


def nothing_is_left(output):
    """Whether no folder for work in progress is left."""
    places = Places(output)
    return not [*places.staging.iterdir(), *places.scratch.glob("*")]


def whole_or_absent(output):
    """Raise when a series can be seen that has no record: it may be half there."""
    for place in output.glob("*/series-*"):
        assert (place / "case.json").is_file(), place


@pytest.mark.slow
def test_a_case_that_ends_its_worker_every_time_stops_nobody_else(go, output):
    pools = []

    def pool():
        pools.append(LocalPool())
        return pools[-1]

    class Murderous(Diary):
        """Ends the worker whenever it comes to segment one of the cases."""

        victim = ""

        def case_progress(self, case, stage, done, total):
            if (stage, total) != ("segment", 0):
                return
            self.victim = self.victim or case
            if case == self.victim:
                os.kill(pools[0].processes[0], signal.SIGKILL)

    diary = go(pool=pool, attempts=2, events=Murderous())
    (failed,) = [row for row in rows(output) if row.state == "failed"]
    assert (failed.case, failed.code, failed.attempts) == (
        diary.victim,
        "KILLED_BY_SIGNAL_9",
        2,
    )
    assert diary.tally.done + diary.tally.refused == 4
    assert {row.attempts for row in rows(output) if row.state == "done"} == {0}
    assert nothing_is_left(output)


@pytest.mark.slow
def test_a_second_run_on_one_output_is_refused_and_the_first_goes_on(start, output):
    first = start()
    assert first.stdout.readline() == "begun\n"
    first.send_signal(signal.SIGSTOP)  # or it might be done before the others have begun
    for shard in ("1/1", "1/2"):
        second = start(shard=shard)
        assert "another run is at work on" in second.communicate(timeout=100)[1]
        assert second.returncode
    first.send_signal(signal.SIGCONT)
    assert first.communicate(timeout=500)[0].split()[-2:] == ["5", "0"]
    assert nothing_is_left(output)


@pytest.mark.slow
def test_shares_of_one_archive_run_side_by_side(start, output, undisturbed):
    both = [start(shard="1/2"), start(shard="2/2")]
    said = [run.communicate(timeout=500)[0].split() for run in both]
    assert [run.returncode for run in both] == [0, 0]
    assert sum(int(words[-2]) for words in said) == 5
    assert sorted(row.state for row in rows(output)) == ["done"] * 4 + ["refused"]
    assert nothing_is_left(output)
    assert without_times(files_below(output)) == undisturbed()


def test_ctrl_c_ends_the_run_and_its_workers_cleanly(start, output):
    run = start()
    assert run.stdout.readline() == "begun\n"
    working = workers(run)
    run.send_signal(signal.SIGINT)
    assert "run the same command again to continue" in run.communicate(timeout=100)[0]
    assert working
    assert not [pid for pid in working if Path(f"/proc/{pid}").exists()]
    assert {row.state for row in rows(output)} <= {"waiting", "done", "refused"}
    assert nothing_is_left(output)
    whole_or_absent(output)


@pytest.mark.slow
def test_a_killed_run_is_taken_up_at_once(start, output, undisturbed):
    run = start()
    assert run.stdout.readline() == "begun\n"
    run.kill()
    run.wait()
    assert "leased" in {row.state for row in rows(output)}
    again = start()
    assert again.communicate(timeout=500)[0].split()[-1] == "0"
    assert nothing_is_left(output)
    assert without_times(files_below(output)) == undisturbed()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_runs_killed_at_random_moments_come_to_the_same_end(archive, start, tmp_path, undisturbed):
    """``MEDSEG_TEST_KILLS`` says how many kills there are, of runs and of their workers."""
    small = ct_grid(shape=(16, 14, 8), spacing_mm=(20.0, 19.0, 30.0))
    for number in range(10, 14):
        write_scan(abdominal_ct(number, small)[0], archive / f"more-{number}.nii.gz")
        write_series(abdominal_ct(number + 10, small)[0], archive / f"q{number}", patient=number)
    moments, killed, rounds = random.Random(7), 0, 0
    while killed < KILLS:
        rounds += 1
        output = tmp_path / f"round-{rounds}"
        killed += _lives(start, output, moments)
        assert sorted(row.state for row in rows(output)) == ["done"] * 12 + ["refused"]
        assert nothing_is_left(output)
        assert without_times(files_below(output)) == undisturbed()


def _lives(start, output, moments):
    """Start a run, and kill it or its worker, again and again until one comes to its end."""
    killed = 0
    while True:
        run = start(output)
        if moments.random() < 0.2:
            time.sleep(moments.uniform(0.0, 3.0))  # while it starts, or searches
        else:
            run.stdout.readline()
            time.sleep(moments.uniform(0.0, 3.0))
        prey = workers(run) if moments.random() < 0.3 else []
        if prey:
            os.kill(prey[0], signal.SIGKILL)
            killed += 1
            time.sleep(moments.uniform(0.0, 10.0))
        if run.poll() is not None:
            assert run.returncode == 0
            return killed
        run.kill()
        run.communicate()
        killed += 1
        whole_or_absent(output)
