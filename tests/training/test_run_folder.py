"""A run's folder as it begins, and what a process that was killed leaves of it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from medseg import train
from medseg.errors import InputError, WriteError
from medseg.planning import read_plan
from medseg.planning.plan import encode
from medseg.training import TrainingOptions
from medseg.training.resuming import stored_options
from medseg.training.run_folder import is_free, save_options
from medseg_pipelines.cli import medseg
from toy_dataset import TOY_PLAN, write_toy

SHORT = TrainingOptions(steps=2, device="cpu", validations=0)


@pytest.fixture
def killed(tmp_path):
    """A folder in which a start was killed before the options were kept."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "plan.json").write_bytes(encode(msgspec.structs.replace(TOY_PLAN, batch=1)))
    (run / ".0123456789ab.json").write_text('{"steps"')
    return run


def test_a_start_that_was_killed_is_no_trap(killed, tmp_path):
    assert is_free(killed)
    with pytest.raises(InputError, match="holds no run"):
        train(None, killed, resume=True)
    train(write_toy(tmp_path / "data"), killed, options=SHORT, plan=TOY_PLAN)
    assert read_plan(killed / "plan.json").batch == TOY_PLAN.batch
    assert not list(killed.glob(".*.json"))


def test_what_somebody_else_left_is_kept(killed, tmp_path):
    (killed / "notes.json").write_text("{}")
    assert not is_free(killed)
    with pytest.raises(InputError, match="not empty"):
        train(write_toy(tmp_path / "data"), killed, options=SHORT, plan=TOY_PLAN)
    assert len(list(killed.iterdir())) == 3


def test_options_are_replaced_whole(tmp_path, monkeypatch):
    save_options(tmp_path, SHORT)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(WriteError):
        save_options(tmp_path, TrainingOptions(steps=9))
    assert stored_options(tmp_path).steps == 2
    assert [path.name for path in tmp_path.iterdir()] == ["options.json"]


def test_a_run_of_another_machine_goes_on_here(tmp_path, capsys):
    run = tmp_path / "run"

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(write_toy(tmp_path / "data"), run, options=SHORT, plan=TOY_PLAN, callbacks=stop)
    options = json.loads((run / "options.json").read_text())
    (run / "options.json").write_text(json.dumps({**options, "device": "cuda:9"}))
    medseg(["train", "--output", str(run), "--resume"], standalone_mode=False)
    assert (run / "model" / "manifest.json").is_file()
