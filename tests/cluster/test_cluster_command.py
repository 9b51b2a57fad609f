"""`medseg batch --cluster`: from the command line, with Ctrl-C, and what it says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.conftest import until
from hospital.archive import write_many
from medseg_pipelines.batch.ledger.ledger import Ledger
from toy_model import tiny_model

COUNT = 40


@pytest.fixture
def command(tmp_path):
    write_many(tmp_path / "archive", count=COUNT)
    model = tiny_model(tmp_path / "tiny").folder

    def line(*more):
        code = "from medseg_pipelines.cli import main; main()"
        return [
            sys.executable,
            "-c",
            code,
            "batch",
            str(tmp_path / "archive"),
            "--model",
            str(model),
            "--output",
            str(tmp_path / "out"),
            "--device",
            "cpu",
            "--min-slices",
            "1",
            *more,
        ]

    return line


def start(command):
    path = ":".join(one for one in sys.path if one)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def counts(output):
    with Ledger.of(output) as ledger:
        return ledger.counts()


def processes_of(session):
    """Processes that are left of a session."""
    listed = subprocess.run(
        ["ps", "-s", str(session), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return listed.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_stopped_run_leaves_nobody_and_goes_on_where_it_was(command, tmp_path, stop):
    first = start(command("--cluster", "local:2", "--quiet"))
    ledger = tmp_path / "out" / ".medseg" / "ledger.sqlite"
    until(lambda: ledger.exists() and counts(tmp_path / "out")["done"] >= 3)
    if stop == signal.SIGINT:
        os.killpg(first.pid, stop)  # as a terminal does: the workers get it too
    else:
        first.kill()
    out, err = first.communicate(timeout=240)
    until(lambda: not processes_of(first.pid))
    left = counts(tmp_path / "out")
    assert 3 <= left["done"] < COUNT
    assert left["refused"] == left["failed"] == 0
    if stop == signal.SIGINT:
        assert first.returncode == 130
        assert left["leased"] == 0, "cases in hand wait again"
        assert "run the same command again to continue" in err
        assert "Traceback" not in out + err
    second = start(command("--cluster", "local:1", "--quiet"))
    out, err = second.communicate(timeout=240)
    assert second.returncode == 0, err
    assert counts(tmp_path / "out") == {
        "waiting": 0,
        "leased": 0,
        "done": COUNT,
        "refused": 0,
        "failed": 0,
    }
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_a_cluster_that_is_none_is_one_sentence_and_nothing_is_begun(command, tmp_path):
    done = start(command("--cluster", "somewhere"))
    _, err = done.communicate(timeout=240)
    assert done.returncode == 2
    assert err.startswith("medseg: error: --cluster 'somewhere' is no cluster; give HOST:PORT")
    assert err.count("\n") == 1
    assert not Path(tmp_path / "out").exists()


@pytest.mark.slow
def test_nobody_at_the_address_leaves_the_cases_waiting(command, tmp_path):
    line = command("--cluster", "127.0.0.1:9")
    line[2] = (
        "from medseg_pipelines.cluster import backend; backend.CONNECT_SECONDS = 1.0;" + line[2]
    )
    done = start(line)
    _, err = done.communicate(timeout=240)
    assert done.returncode == 2
    assert "no Dask scheduler answers at '127.0.0.1:9' within 1 s" in err
    assert "Traceback" not in err
    assert counts(tmp_path / "out")["waiting"] == COUNT
