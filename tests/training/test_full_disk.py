"""A disk that is full, at every file of a run: one sentence, no part of a file, resumed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg import train
from medseg.errors import WriteError
from medseg.planning.plan import encode
from medseg.training import TrainingOptions, cache
from medseg.training.first_look import RECORD
from medseg.training.history import FILE as HISTORY
from medseg.training.run_status import BEST, CHECKPOINT, IDENTITY, OPTIONS, PLAN
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = TrainingOptions(steps=2, device="cpu", validations=2)
MEDSEG = (sys.executable, "-c", "from medseg_pipelines.cli import main; main()")
BEFORE_IT_CAN_GO_ON = (PLAN, OPTIONS, IDENTITY, RECORD, "fingerprint.json")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("data") / "toy", cases=3)


def ends_whole(root, run, plan=TOY_PLAN):
    """Whether the run, gone on with or begun anew, gives a model."""
    if run.exists():
        return train(None, run, resume=True).is_dir()
    return train(root, run, options=SHORT, plan=plan).is_dir()


def halves(run):
    return [path for path in run.rglob(".*") if path.is_file()]


@pytest.mark.parametrize(
    "name",
    [
        *BEFORE_IT_CAN_GO_ON,
        CHECKPOINT,
        BEST,
        HISTORY,
        ".image.npy",
        ".labels.npy",
        ".truth.npy",
        "model",
    ],
)
def test_no_file_of_a_run_is_left_half_written(name, root, tmp_path, monkeypatch):
    run, met = tmp_path / "run", []
    plan = None if name == "fingerprint.json" else TOY_PLAN
    replace = os.replace

    def full(source, target):
        if Path(target).name.endswith(name):
            met.append(target)
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WriteError, match="free some space") as told:
        train(root, run, options=SHORT, plan=plan)
    monkeypatch.undo()
    assert met
    assert told.value.code == "DISK_FULL"
    assert not halves(run)
    assert ("--resume" in str(told.value)) == run.exists()
    assert ends_whole(root, run, plan)


@pytest.mark.parametrize("method", ["write_event", "flush"])
def test_a_board_that_is_full_ends_the_run_in_a_sentence(method, root, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"tensorboardX.event_file_writer.EventsWriter.{method}", full)
    with pytest.raises(WriteError, match="--resume"):
        train(root, run, options=SHORT, plan=TOY_PLAN)
    monkeypatch.undo()
    assert ends_whole(root, run)


def test_an_array_that_numpy_cut_short_is_told_as_a_full_disk(tmp_path, monkeypatch):
    def short(stream, *_, **__):
        stream.write(b"part")
        raise OSError("216000 requested and 127968 written")

    monkeypatch.setattr(cache.np, "save", short)
    with pytest.raises(WriteError, match=r"a part of it only.*127968 written"):
        cache.save_array(tmp_path / "c.image.npy", np.zeros(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_file_that_may_not_grow_is_one_sentence_and_the_run_goes_on(tmp_path):
    """The limit is above a case's label map and below its image."""
    root, plan, run = tmp_path / "data", tmp_path / "plan.json", tmp_path / "run"
    write_toy(root, cases=3)
    for path in (*root.glob("images/*"), *root.glob("labels/*")):
        image = nib.load(path)
        values = np.kron(np.asarray(image.dataobj), np.ones((3, 3, 3), image.get_data_dtype()))
        nib.save(nib.Nifti1Image(values, image.affine), path)
    plan.write_bytes(encode(TOY_PLAN))
    words = f'"$@" train {root} --output {run} --steps 1 --plan {plan} --device cpu'
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 700; {words}", "bash", *MEDSEG],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "error" in line]
    assert done.returncode == 2, done.stderr
    assert len(told) == 1
    assert "Traceback" not in done.stderr
    assert "free some space, then go on with --resume" in told[0]
    assert not halves(run)
    assert not list(run.glob("cache/*"))
    assert train(None, run, resume=True).is_dir()
