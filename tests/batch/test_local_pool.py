"""Worker processes that are killed, stopped, starved and orphaned for true."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import nibabel
import numpy as np
import pytest

from medseg.errors import MedsegError, PackageError
from medseg.model_package import ModelPackage
from medseg.workflows.record import model_digest
from medseg_pipelines.batch.archive.search import search
from medseg_pipelines.batch.ledger.provenance import file_digests, read_record
from medseg_pipelines.batch.messages import Result, Settings, Task
from medseg_pipelines.batch.workers.local_pool import LocalPool
from medseg_pipelines.batch.workers.protocol import Step, WorkerDied

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals of Linux")
PATIENCE_S = 120.0


@pytest.fixture
def tasks(archive, model, tmp_path):
    """A task for each scan, the broken one last."""
    staging = tmp_path / "staging"
    staging.mkdir()
    scans = sorted(search(archive, None), key=lambda one: "broken" in one.path)
    digest = model_digest(ModelPackage.open(model))
    return [
        Task(
            case=f"case-{number}",
            token=f"token-{number}",
            scan=found,
            device="cpu",
            staging=str(staging / f"token-{number}"),
            model=str(model),
            model_digest=digest,
            settings=Settings(),
        )
        for number, found in enumerate(scans)
    ]


@pytest.fixture
def pool(tmp_path):
    pool = LocalPool(scratch=tmp_path / "scratch")
    yield pool
    pool.close()


def until(pool, wanted):
    """All reports until one is the wanted one."""
    heard, end = [], time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for report in pool.events(0.2):
            heard.append(report)
            if wanted(report):
                return heard
    raise AssertionError(f"nothing of the kind was heard, only {heard}")


def results(pool, count):
    """The next results, by case."""
    got = {}
    while len(got) < count:
        for report in until(pool, lambda one: isinstance(one, Result | WorkerDied)):
            if isinstance(report, Result):
                got[report.case] = report
            assert not isinstance(report, WorkerDied), report
    return got


def begun(report):
    return isinstance(report, Step) and report.stage == "read"


def died(report):
    return isinstance(report, WorkerDied)


def is_gone(pid):
    """Whether a process does nothing any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_every_task_ends_in_its_result_and_the_process_stays(pool, tasks, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for task in tasks:
        pool.submit(task)
    (worker,) = pool.processes
    got = results(pool, len(tasks))
    states = [got[task.case].state for task in tasks]
    assert states == ["done"] * 4 + ["refused"]
    assert got["case-4"].fault.code == "UNREADABLE"
    for task in tasks[:4]:
        record = read_record(Path(task.staging))
        assert file_digests(Path(task.staging)) == record.files
        assert (record.case, record.token) == (task.case, task.token)
        assert set(got[task.case].seconds) == {"read", "segment", "write"}
    assert pool.processes == (worker,)
    assert os.getpgid(worker) == worker != os.getpgid(0)  # Ctrl-C in the terminal is not for it
    assert Path(f"/proc/{worker}/oom_score_adj").read_text().strip() == "500"
    assert resource.prlimit(worker, resource.RLIMIT_CORE) == (0, 0)
    variables = Path(f"/proc/{worker}/environ").read_text()
    assert f"TMPDIR={tmp_path / 'scratch'}" in variables
    assert "OMP_WAIT_POLICY=passive" in variables.split("\0")
    pool.close()
    assert is_gone(worker)
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)]
)
def test_a_worker_that_dies_is_told_with_the_cases_it_had_begun_and_replaced(pool, tasks, kind):
    pool.submit(tasks[0])
    until(pool, begun)
    (worker,) = pool.processes
    os.kill(worker, kind)
    death = until(pool, died)[-1]
    assert (death.cases, death.code) == (("case-0",), f"KILLED_BY_SIGNAL_{kind.value}")
    pool.submit(tasks[1])
    assert results(pool, 1)["case-1"].state == "done"
    assert pool.processes[0] != worker


@pytest.mark.slow
def test_what_a_dead_worker_had_not_begun_goes_on_in_the_next(pool, tasks):
    pool.submit(tasks[0])
    (worker,) = pool.processes
    os.kill(worker, signal.SIGSTOP)  # it has the tasks, but does not get to see them
    pool.submit(tasks[1])
    os.kill(worker, signal.SIGKILL)
    got = results(pool, 2)
    assert {one.state for one in got.values()} == {"done"}


@pytest.mark.slow
def test_a_stopped_worker_is_ended_and_its_case_told(tasks, tmp_path):
    pool = LocalPool(heartbeat_timeout_s=3.0, scratch=tmp_path / "scratch")
    try:
        pool.submit(tasks[0])
        until(pool, begun)
        (worker,) = pool.processes
        os.kill(worker, signal.SIGSTOP)
        death = until(pool, died)[-1]
        assert (death.cases, death.code) == (("case-0",), "HUNG")
        assert is_gone(worker)
    finally:
        pool.close()


@pytest.mark.slow
def test_a_case_that_gets_no_further_is_given_up(tasks, tmp_path):
    pool = LocalPool(stall_timeout_s=0.0, scratch=tmp_path / "scratch")
    try:
        pool.submit(tasks[0])
        death = until(pool, died)[-1]
        assert (death.cases, death.code) == (("case-0",), "TOO_SLOW")
    finally:
        pool.close()


@pytest.mark.slow
def test_a_dangerous_case_has_its_worker_for_itself(pool, tasks):
    alone = msgspec.structs.replace(tasks[1], alone=True)
    for task in (tasks[0], alone, tasks[2]):
        pool.submit(task)
    order = []
    while len(order) < 6:
        for report in pool.events(0.2):
            if isinstance(report, Result):
                order.append(f"end {report.case[-1]}")
            elif isinstance(report, Step) and report.stage == "read" and not report.total:
                order.append(f"begin {report.case[-1]}")
    assert order == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]


@pytest.mark.slow
def test_another_model_than_the_run_began_with_is_nobodys_case(pool, tasks):
    pool.submit(msgspec.structs.replace(tasks[0], model_digest="0" * 64))
    with pytest.raises(PackageError, match="another one") as raised:
        until(pool, died)
    assert raised.value.code == "OTHER_MODEL"


def test_workers_that_cannot_start_end_the_run(pool, tasks, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    pool.submit(tasks[0])
    with pytest.raises(MedsegError, match="before they began") as raised:
        until(pool, died)
    assert raised.value.code == "WORKERS_DO_NOT_START"


@pytest.mark.slow
def test_more_memory_than_allowed_is_the_failure_of_one_case(tasks, archive, tmp_path):
    large = archive / "large.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape((600, 600, 600))
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.eye(4), code=1)
    with large.open("wb") as file:
        header.write_to(file)
        file.truncate(352 + 4 * 600**3)  # 0.9 GB on no disk, and several times that in memory
    (found,) = [one for one in search(archive, None) if one.path == str(large)]
    pool = LocalPool(memory_gb=1.5, scratch=tmp_path / "scratch")
    try:
        pool.submit(msgspec.structs.replace(tasks[3], scan=found))
        pool.submit(tasks[0])
        got = results(pool, 2)
        assert (got["case-3"].state, got["case-3"].fault.code) == ("failed", "OUT_OF_MEMORY")
        assert got["case-0"].state == "done"
    finally:
        pool.close()


_PARENT = """
import sys, time
import msgspec
from pathlib import Path
from medseg_pipelines.batch.workers.local_pool import LocalPool
from medseg_pipelines.batch.messages import Task
pool = LocalPool(scratch=Path(sys.argv[2]))
pool.submit(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task))
print(*pool.processes, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_workers_die_with_a_run_that_is_killed(tasks, tmp_path, stopped):
    order = tmp_path / "task.json"
    order.write_bytes(msgspec.json.encode(tasks[0]))
    command = [sys.executable, "-c", _PARENT, str(order), str(tmp_path / "scratch")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        prey = Path(f"/proc/{worker}/oom_score_adj")
        while prey.read_text().strip() != "500":
            time.sleep(0.05)
        if stopped:
            os.kill(worker, signal.SIGSTOP)
        assert not is_gone(worker)
        parent.kill()
        parent.wait()
    end = time.monotonic() + PATIENCE_S
    while not is_gone(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert is_gone(worker)
