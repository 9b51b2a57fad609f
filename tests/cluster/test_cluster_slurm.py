"""A real SLURM on this machine: its jobs as workers, and an array of runs on one ledger."""

import os
import sys
from pathlib import Path

import pytest

from batch_stand_ins import Diary
from cluster.slurm_site import Slurm, why_not
from cluster.test_cluster_run import SETTINGS, judged, same
from hospital.archive import write_hospital
from medseg.errors import InputError
from medseg_pipelines.batch.ledger.ledger import Ledger
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.cluster import pool_of
from medseg_pipelines.cluster.slurm_file import read_slurm_file
from toy_model import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]
RECIPES = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "slurm"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    site = Slurm(tmp_path_factory.mktemp("slurm"))
    yield site
    site.close()


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path / "tiny").folder


class Cancelling(Diary):
    """Cancels one job when two cases have ended."""

    def __init__(self, site):
        super().__init__()
        self.site, self.cancelled = site, []

    def case_progress(self, case, stage, done, total):
        if len(self.rows) >= 2 and not self.cancelled:
            self.cancelled = self.site.jobs()[:1]
            self.site.call("scancel", *self.cancelled)


def test_jobs_of_slurm_are_workers_and_one_may_be_cancelled(slurm, model, tmp_path, monkeypatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = ":".join(one for one in sys.path if one)
    (tmp_path / "keys").mkdir()
    (tmp_path / "slurm.toml").write_text(
        'jobs = 2\ncpus = 1\nmemory = "2GB"\nwalltime = "00:30:00"\ninterface = "lo"\n'
        f'keys = "{tmp_path / "keys"}"\nlogs = "{tmp_path / "logs"}"\n'
        f'prologue = ["export PYTHONPATH={path}"]\n'
    )
    expected = write_hospital(tmp_path / "hospital", count=16, bad=0.25)
    alone = BatchOptions(settings=SETTINGS, device="cpu")
    run_batch(tmp_path / "hospital", model=model, output=tmp_path / "serial", options=alone)
    events = Cancelling(slurm)
    pool = pool_of(f"slurm:{tmp_path / 'slurm.toml'}")
    options = BatchOptions(settings=SETTINGS, device="cpu", pool=pool)
    run_batch(
        tmp_path / "hospital", model=model, output=tmp_path / "out", options=options, events=events
    )
    assert events.cancelled
    same(tmp_path / "out", tmp_path / "serial")
    assert judged(expected, tmp_path / "out") == ([], [], [])
    slurm.until(lambda: not slurm.jobs())  # the run ended its jobs
    assert list((tmp_path / "keys").iterdir()) == []


def test_a_job_that_slurm_does_not_take_is_told_at_once(slurm, tmp_path, monkeypatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "slurm.toml").write_text(
        'jobs = 1\nmemory = "2GB"\nwalltime = "00:30:00"\npartition = "nowhere"\n'
        f'keys = "{tmp_path}"\n'
    )
    with pytest.raises(InputError, match="invalid partition"):
        pool_of(f"slurm:{tmp_path / 'slurm.toml'}")()
    assert [path.name for path in tmp_path.iterdir()] == ["slurm.toml"]


def test_the_array_recipe_does_every_series_once(slurm, model, tmp_path):
    expected = write_hospital(tmp_path / "hospital", count=16, bad=0.25)
    command = tmp_path / "bin" / "medseg"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\nimport sys; sys.path[:0] = {sys.path!r}\n"
        "from medseg_pipelines.cli import main; main()\n"
    )
    command.chmod(0o755)
    slurm.call(
        "sbatch",
        "--wait",
        "--array=1-3",
        "--gres=none",
        "--cpus-per-task=1",
        "--mem=2G",
        f"--output={tmp_path}/log.%a",
        f"--export=PATH={command.parent}:{os.environ['PATH']}",
        str(RECIPES / "array.sbatch"),
        str(tmp_path / "hospital"),
        str(model),
        str(tmp_path / "out"),
    )
    assert judged(expected, tmp_path / "out") == ([], [], [])
    with Ledger.of(tmp_path / "out") as ledger:
        rows = ledger.rows()
    assert len({row.owner for row in rows if row.owner}) == 3, "each task did its share"


def test_the_file_in_the_documentation_is_one():
    assert read_slurm_file(RECIPES / "workers.toml").jobs == 8
