"""A tiny model and a small archive."""

from __future__ import annotations

import shutil

import pytest

from batch_stand_ins import Diary, InlinePool, World
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.writing import write_scan
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from toy_model import tiny_model

SMALL = ct_grid(shape=(16, 14, 8), spacing_mm=(20.0, 19.0, 30.0))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Processes that share two cores with others spin when they compute with several threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture(scope="session")
def _archive(tmp_path_factory):
    """Two NIfTI files, two DICOM series, and a file that is neither."""
    root = tmp_path_factory.mktemp("archives") / "archive"
    root.mkdir()
    for number in (1, 2):
        write_scan(abdominal_ct(number, SMALL)[0], root / f"scan-{number}.nii.gz")
    for number in (3, 4):
        write_series(abdominal_ct(number, SMALL)[0], root / f"p{number}", patient=number)
    (root / "broken.nii.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    return root


@pytest.fixture
def archive(_archive, tmp_path):
    """A copy that a test may change; times of change are kept."""
    return shutil.copytree(_archive, tmp_path / "archive")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def world(tmp_path):
    return World.at(tmp_path / "out")


@pytest.fixture
def ledger(world):
    with world.ledger() as ledger:
        yield ledger


@pytest.fixture
def go(archive, model, output):
    """Run the batch; gives what it told. The work is the true one, in the test's own process."""

    def run(*, to=None, by=None, events=None, **more):
        diary = events or Diary()
        options = BatchOptions(**{"pool": InlinePool, **more})
        run_batch(archive, model=by or model, output=to or output, options=options, events=diary)
        return diary

    return run
