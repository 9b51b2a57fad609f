"""Where cases are made and commands are run, and what is looked at afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from click.testing import CliRunner

from medseg_pipelines.cli import _sentence, medseg
from medseg_pipelines.console import _Lines

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(str(ROOT / part) for part in (".", "pipelines", "napari_plugin"))


def _on_stderr(message: Warning | str, *_: object) -> None:
    """Show a warning as the command does."""
    sys.stderr.write(_sentence(message))


@dataclass(frozen=True)
class Answer:
    """What a command answered.

    Parameters
    ----------
    code : int
        1 when it broke with an error that is not for people.
    text : str
        Both streams, in one line.
    """

    code: int
    text: str

    @property
    def last(self) -> str:
        """The sentence at its end."""
        start = self.text.rfind("medseg: error:")
        return self.text[start:] if start >= 0 else self.text[-160:]

    def has(self, *words: str) -> bool:
        """Whether all words are in the text, whatever their capitals."""
        return all(word.lower() in self.text.lower() for word in words)

    def refused(self, *words: str) -> bool:
        """Whether it ended in one sentence for people that has all words."""
        one = self.code == 2 and self.text.count("medseg: error:") == 1
        return one and "Traceback" not in self.text and self.has(*words)


@dataclass
class Lab:
    """Folders of the cases and of what comes of them.

    Parameters
    ----------
    scripts : Path
        Where the scripts lie that write cases.
    place : Path
        An empty folder.
    """

    scripts: Path
    place: Path
    commands: int = field(default=0, init=False)

    def cases(self, script: str, *more: str, fresh: str = "") -> Path:
        """The folder a script writes, once; with `fresh`, one of its own by that name."""
        folder = self.place / "cases" / f"{script}{fresh}"
        if more or not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, str(self.scripts / f"{script}.py"), str(folder), *more]
            environment = {**os.environ, "PYTHONPATH": SOURCES}
            subprocess.run(command, check=True, capture_output=True, env=environment)
        return folder

    def output(self, name: str) -> Path:
        """Where a row's results go."""
        (self.place / "out").mkdir(exist_ok=True)
        return self.place / "out" / name

    def medseg(self, *words: object) -> Answer:
        """Run a command, in this process so that torch is loaded once."""
        self.commands += 1
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _on_stderr  # whoever else records warnings, as tests do
            result = CliRunner().invoke(medseg, list(map(str, words)), prog_name="medseg")
        text = result.output
        if result.exception and not isinstance(result.exception, SystemExit):
            text += "".join(traceback.format_exception(result.exception))
        return Answer(result.exit_code, " ".join(text.split()))

    def train(self, dataset: Path, run: Path, *words: object, plan: bool = True) -> Answer:
        """Train on the CPU, by the mini plan beside the dataset unless told otherwise."""
        by = ("--plan", dataset.parent / "mini_plan.json") if plan else ()
        return self.medseg("train", dataset, "--output", run, "--device", "cpu", *by, *words)

    def train_and_stop(self, dataset: Path, run: Path, *words: object, after: int = 5) -> Answer:
        """The same for 20 steps, with Ctrl-C after a few of them."""
        show = _Lines.__call__

        def interrupt(lines: _Lines, done: int, total: int, message: str, /) -> None:
            if total == 20 and done == after:
                os.kill(os.getpid(), signal.SIGINT)
            show(lines, done, total, message)

        with mock.patch.object(_Lines, "__call__", interrupt):
            return self.train(dataset, run, "--steps", 20, *words)


def shell(line: str) -> Answer:
    """Run a line of bash with ``medseg`` in it; for what a process of its own is needed for."""
    medseg_command = f"{sys.executable} -c 'from medseg_pipelines.cli import main; main()'"
    line = line.replace("medseg ", f"{medseg_command} ", 1)
    environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=environment, check=False
    )
    return Answer(done.returncode, " ".join((done.stdout + done.stderr).split()))


def must(holds: object, seen: object) -> None:
    """Raise, with what was seen, unless the right behaviour holds."""
    if not holds:
        raise AssertionError(str(seen))


def ends_well(answer: Answer) -> None:
    must(answer.code == 0, f"code {answer.code}: {answer.last}")


def refuses(answer: Answer, *words: str) -> str:
    """What a refusal said; raises unless it is one sentence with these words."""
    lacking = [word for word in words if not answer.has(word)]
    seen = f"code {answer.code}: {answer.last}"
    must(answer.refused(*words), f"{seen} (not in it: {', '.join(lacking) or '-'})")
    return seen


def no_step(run: Path) -> None:
    """Raise when a run has taken a step."""
    must(not (run / "history.jsonl").is_file() or steps(run) == 0, "found after the first step")


def known_options(text: str) -> list[str]:
    """Options that a text names and `medseg train` does not have."""
    has = {word for one in medseg.commands["train"].params for word in one.opts}
    named = {word.strip("'\".,;:()") for word in text.split() if word.startswith("--")}
    return sorted(named - has)


def plain(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def manifest(run: Path) -> dict[str, Any]:
    return dict(plain(run / "model" / "manifest.json"))


def label_names(run: Path) -> list[str]:
    return [label["name"] for label in manifest(run)["labels"]["labels"]]


def prepared(run: Path) -> set[str]:
    """Names of the cases whose images were prepared."""
    return {file.name.removesuffix(".image.npy") for file in run.glob("cache/*.image.npy")}


def counts(run: Path, case: str) -> dict[int, int]:
    """Voxels of each class in the prepared labels of a case, without the background."""
    classes = np.load(run / "cache" / f"{case}.labels.npy")
    return {
        int(v): int(n) for v, n in zip(*np.unique(classes, return_counts=True), strict=True) if v
    }


def steps(run: Path) -> int:
    lines = (run / "history.jsonl").read_text().splitlines()
    return max((json.loads(line)["step"] for line in lines), default=0)
