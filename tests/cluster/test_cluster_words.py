"""What --cluster may say, and what it says back."""

import importlib.util
import subprocess
import sys

import pytest

from medseg.errors import InputError
from medseg_pipelines.cluster import gpus, pool_of
from medseg_pipelines.cluster.backend import slurm_arguments
from medseg_pipelines.cluster.slurm_file import read_slurm_file

LEAST = 'jobs = 2\nmemory = "8GB"\nwalltime = "01:00:00"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "give HOST:PORT"),
        ("somewhere", "give HOST:PORT"),
        ("host:port", "give HOST:PORT"),
        ("host:1 rm -rf", "give HOST:PORT"),
        ("local:", "from 1 to"),
        ("local:0", "from 1 to"),
        ("local:two", "from 1 to"),
        ("slurm:", "docs/how-to/cluster.md"),
        ("slurm:nowhere.toml", "nowhere.toml"),
    ],
)
def test_what_is_no_cluster_is_told_at_once(text, words):
    with pytest.raises(InputError, match=words) as caught:
        pool_of(text)
    assert caught.value.code == "CLUSTER"


def test_nobody_at_an_address(monkeypatch):
    monkeypatch.setattr("medseg_pipelines.cluster.backend.CONNECT_SECONDS", 0.5)
    make = pool_of("127.0.0.1:9")
    with pytest.raises(InputError, match=r"no Dask scheduler answers at '127\.0\.0\.1:9'"):
        make()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"address": 5}'])
def test_what_is_no_scheduler_file(tmp_path, monkeypatch, content):
    monkeypatch.setattr("medseg_pipelines.cluster.backend.CONNECT_SECONDS", 0.5)
    path = tmp_path / "scheduler.json"
    path.write_text(content)
    with pytest.raises(InputError):
        pool_of(str(path))()


def test_without_dask_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'medseg\[cluster\]'"):
        pool_of("local:2")


def test_dask_is_not_imported_before_it_is_asked_for():
    code = "import sys, medseg_pipelines.cluster; print('distributed' in sys.modules)"
    path = ":".join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": path},
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('gpus = "1"', "unknown field `gpus`"),
        ("jobs = 0", "jobs"),
        ('partition = "a; rm -rf ~"', "partition"),
        ('directives = ["gres=gpu:1"]', "directives"),
        ('prologue = ["a\\nb"]', "prologue"),
        ('memory = "lots"', "memory"),
        ('walltime = "1h"', "walltime"),
        ("jobs = ", "line"),
    ],
)
def test_a_wrong_line_in_the_slurm_file_is_named(tmp_path, line, words):
    path = tmp_path / "slurm.toml"
    key = line.split(" ")[0]
    kept = [one for one in LEAST.splitlines() if not one.startswith(key)]
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(InputError, match=words):
        read_slurm_file(path)


def test_a_slurm_job_has_one_thread_for_each_worker_and_its_share_of_cpus(tmp_path):
    from dask_jobqueue import SLURMCluster

    path = tmp_path / "slurm.toml"
    path.write_text(
        LEAST + 'workers = 2\ncpus = 16\npartition = "gpu"\ndirectives = ["--gres=gpu:1"]\n'
        'prologue = ["module load cuda"]\n'
    )
    with SLURMCluster(**slurm_arguments(read_slurm_file(path), tmp_path)) as cluster:
        script = cluster.job_script()
    lines = script.splitlines()
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH --cpus-per-task=16",
        "#SBATCH --mem=8G",
        "#SBATCH -t 01:00:00",
        "#SBATCH --gres=gpu:1",
        "export OMP_NUM_THREADS=8",
        "module load cuda",
        "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False",
    ):
        assert line in lines
    assert lines.index("module load cuda") > lines.index("export OMP_NUM_THREADS=8")
    (start,) = [line for line in lines if "dask_worker" in line]
    assert "--nthreads 1" in start
    assert "--nworkers 2" in start
    assert "--preload medseg_pipelines.cluster.gpus" in start
    assert "tls://" in start


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "slurm.toml").write_text(f'{LEAST}keys = "{tmp_path}"\n')
    with pytest.raises(InputError, match="there is no sbatch"):
        pool_of(f"slurm:{tmp_path / 'slurm.toml'}")()
    (tmp_path / "slurm.toml").write_text(f'{LEAST}keys = "/nowhere/at/all"\n')
    with pytest.raises(InputError, match="folder of keys"):
        pool_of(f"slurm:{tmp_path / 'slurm.toml'}")()
    assert [path.name for path in tmp_path.iterdir()] == ["slurm.toml"]


CLAIM = """
import sys, types
cuda = types.SimpleNamespace(device_count=lambda: 3)
sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)
from medseg_pipelines.cluster.gpus import own_device
print(own_device(), flush=True)
sys.stdin.read()
"""


def test_each_process_has_a_gpu_of_its_own_while_there_are_enough(tmp_path):
    path = ":".join(one for one in sys.path if one)
    processes, had = [], []
    try:
        for _ in range(4):
            process = subprocess.Popen(
                [sys.executable, "-c", CLAIM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={"PYTHONPATH": path, "TMPDIR": str(tmp_path)},
            )
            processes.append(process)
            had.append(process.stdout.readline().strip())
            if len(processes) == 3:  # the second ends, however: its GPU is free again
                processes[1].kill()
                processes[1].wait()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert had == ["cuda:0", "cuda:1", "cuda:2", "cuda:1"]


def test_more_workers_than_gpus_share_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    assert [gpus._claim(["a", "b"]) for _ in range(5)] == [0, 1, 0, 1, 0]


def test_the_visible_gpus_are_told_apart_by_name(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert gpus._names(2) == ["2", "5"]
    assert gpus._names(3) == ["0", "1", "2"]
