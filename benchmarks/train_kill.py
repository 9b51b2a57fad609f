"""Trainings killed with SIGKILL at random moments, and what becomes of them when they are resumed.

    python benchmarks/train_kill.py [--runs 42] [--seed 0]

A moment is a number of events of the process: files of the run that are opened, renamed or half
written, and steps. It is drawn from those of an uninterrupted run that lie before, in and after the
training itself, which saves a checkpoint after every step. Then, in turn, the run is resumed as it
was; with a label map or a scan that was changed; with another option; as if it came from a machine
with another device; and with the resumed run killed in its turn, as it was and with a changed label
map. Every command has a process of its own, forked from one that has loaded
torch. Writes results/train_kill.md; exits with 1 when something went wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from medseg.planning.plan import encode
from toy_dataset import TOY_PLAN, write_toy

HERE = Path(__file__).resolve().parent
STEPS, CASES = 12, 5
WEIGHTS = Path("model/weights.safetensors")
CHANGED = "c1"


class Events:
    """Counts what a process does to a folder, and ends it at one moment."""

    def __init__(self, folder: Path, last: int | None) -> None:
        self.folder, self.last, self.count, self.busy = str(folder), last, 0, False
        self.steps: list[int] = []

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """For :func:`sys.addaudithook`."""
        counts = event in ("open", "os.rename", "os.remove", "os.mkdir") and not self.busy
        if counts and str(arguments[0]).startswith(self.folder):
            self.add()

    def add(self) -> None:
        """Count an event, and end the process if it is the one."""
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def halves(self, path: Path, data: bytes) -> int:
        """Write a file in two parts, with an event between them."""
        with path.open("wb") as stream:
            stream.write(data[: len(data) // 2])
            stream.flush()
            self.add()
            return stream.write(data[len(data) // 2 :])


def command(words: list[str], log: Path, folder: Path, last: int | None) -> None:
    """Run a command in this process; its text and the number of its events are kept in `log`."""
    from medseg.training import trainer
    from medseg_pipelines.cli import main
    from medseg_pipelines.console import _Lines

    events = Events(folder, last)
    show = _Lines.__call__

    def half_bytes(path: Path, data: bytes) -> int:
        return events.halves(path, data)

    def step(lines: _Lines, done: int, total: int, message: str, /) -> None:
        events.add()
        if message.startswith("training, loss"):
            events.steps.append(events.count)
        show(lines, done, total, message)

    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.addaudithook(events.hook)
    sys.argv = ["medseg", *words]
    bytes_of = mock.patch.object(Path, "write_bytes", half_bytes)
    text_of = mock.patch.object(
        Path, "write_text", lambda path, text, *_, **__: half_bytes(path, text.encode())
    )
    always = mock.patch.object(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    try:
        with mock.patch.object(_Lines, "__call__", step), always, bytes_of, text_of:
            main()
    finally:
        events.busy = True
        if events.steps:
            counts = (1, events.steps[0], events.steps[-1], events.count)
            log.with_suffix(".events").write_text(json.dumps(counts))


class Bench:
    """Runs commands on tiny data, and knows what an uninterrupted run gives."""

    def __init__(self, place: Path) -> None:
        self.place, self.number = place, 0
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["medseg.training.run", "medseg_pipelines.train", "monai.transforms", "tensorboardX"]
        )
        self.plan = place / "toy_plan.json"
        self.plan.write_bytes(encode(TOY_PLAN))
        self.whole = self.reference(lambda dataset: None)
        self.events = json.loads((place / "log1.events").read_text())
        self.with_other = {
            change: self.reference(change) for change in (corrected_labels, other_scan)
        }

    def medseg(self, *words: object, run: Path, last: int | None = None) -> tuple[int, str]:
        """Exit code (-9 when killed) and text of a command."""
        self.number += 1
        log = self.place / f"log{self.number}"
        process = self.context.Process(target=command, args=(list(map(str, words)), log, run, last))
        process.start()
        process.join()
        return process.exitcode or 0, " ".join(log.read_text().split())

    def start(self, dataset: Path, run: Path, *, last: int | None = None) -> tuple[int, str]:
        """A training on the CPU by the toy plan."""
        how = ("--plan", self.plan, "--steps", STEPS, "--device", "cpu")
        return self.medseg("train", dataset, "--output", run, *how, run=run, last=last)

    def resume(self, run: Path, *words: object, last: int | None = None) -> tuple[int, str]:
        """Go on with a run."""
        return self.medseg("train", "--output", run, "--resume", *words, run=run, last=last)

    def resume_and_kill(self, run: Path) -> tuple[int, str]:
        """Go on with a run up to three times, each killed early; the kills, and all texts."""
        draw, kills, texts = random.Random(self.number), 0, []
        for _ in range(3):
            code, text = self.resume(run, last=draw.randint(1, self.events[-1] // 3))
            kills, texts = kills + (code == -signal.SIGKILL), [*texts, text]
        return kills, " ".join(texts)

    def reference(self, change: Callable[[Path], object]) -> Path:
        """The folder of an uninterrupted run on changed data."""
        name = getattr(change, "__name__", "whole").strip("<>")
        dataset = write_toy(self.place / f"data-{name}", cases=CASES)
        change(dataset)
        run = self.place / f"run-{name}"
        code, text = self.start(dataset, run)
        if code:
            raise SystemExit(f"an uninterrupted run ended with {code}: {text}")
        return run


def corrected_labels(dataset: Path) -> None:
    """One label map as a person leaves it who found it wrong."""
    _change(dataset / "labels" / f"{CHANGED}.nii.gz", lambda a: np.roll(a, 2, 0))


def other_scan(dataset: Path) -> None:
    """One scan that was exported again, otherwise."""
    _change(dataset / "images" / f"{CHANGED}.nii.gz", lambda a: (a * 0.5 + 7).astype(a.dtype))


def _change(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine), path)


def same(run: Path, other: Path) -> bool:
    """Whether two runs gave the same weights, scores and losses, bit for bit."""
    return (
        (run / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
        and _scores(run) == _scores(other)
        and _losses(run) == _losses(other)
    )


def _scores(run: Path) -> object:
    return json.loads((run / "model" / "manifest.json").read_text())["scores"]


def _losses(run: Path) -> list[object]:
    records = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    return [(record["step"], record.get("loss"), record.get("dice")) for record in records]


def go_on(bench: Bench, dataset: Path, run: Path, *words: object) -> tuple[int, str]:
    """Resume, or start where there is no run yet; what a person would do."""
    code, text = bench.resume(run, *words)
    if code == 2 and ("leave --resume out" in text or "start it without --resume" in text):
        return bench.start(dataset, run)
    return code, text


def as_it_was(bench: Bench, dataset: Path, run: Path) -> str:
    code, text = go_on(bench, dataset, run)
    must(code == 0, f"code {code}: {text}")
    must(same(run, bench.whole), "another result than without the interruption")
    return "equal bit for bit"


def label_map_corrected(bench: Bench, dataset: Path, run: Path) -> str:
    return _changed(bench, dataset, run, corrected_labels)


def scan_changed(bench: Bench, dataset: Path, run: Path) -> str:
    return _changed(bench, dataset, run, other_scan)


def killed_again(bench: Bench, dataset: Path, run: Path) -> str:
    kills, _ = bench.resume_and_kill(run)
    return f"killed {kills} times more, then " + as_it_was(bench, dataset, run)


def corrected_and_killed_again(bench: Bench, dataset: Path, run: Path) -> str:
    return _changed(bench, dataset, run, corrected_labels, kill=True)


def _changed(
    bench: Bench, dataset: Path, run: Path, change: Callable[[Path], None], *, kill: bool = False
) -> str:
    began, is_known = _step(run) > 0, (run / "identity.json").is_file()
    was_finished = (run / "model" / "manifest.json").is_file()
    change(dataset)
    expected = bench.with_other[change]
    kills, before = bench.resume_and_kill(run) if kill else (0, "")
    code, text = go_on(bench, dataset, run)
    text = f"{before} {text}"
    if code == 2:
        must(CHANGED in text, text)
        return "refused by name"
    must(code == 0, f"code {code}: {text}")
    if was_finished:
        must("is finished" in text and same(run, bench.whole), text)
        return "said to be finished; the model stays"
    for part in ("image", "labels"):
        ours, theirs = (np.load(at / "cache" / f"{CHANGED}.{part}.npy") for at in (run, expected))
        must(np.array_equal(ours, theirs), f"the {part} of before the change stayed")
    must(not is_known or CHANGED in text, f"nothing was said of {CHANGED}: {text}")
    must(began or same(run, expected), "another result than a run on the changed data")
    more = f"killed {kills} times more, then " if kill else ""
    return f"{more}prepared anew" + ("" if began else ", equal to a run on the changed data")


def another_option(bench: Bench, dataset: Path, run: Path) -> str:
    if (run / "options.json").is_file():
        for words in (("--seed", 7), ("--loss", "tversky"), ("--fold", 1)):
            code, text = bench.resume(run, *words)
            must(code == 2 and str(words[1]) in text, f"{words}: code {code}: {text}")
    return "refused by name, then " + as_it_was(bench, dataset, run)


def another_device(bench: Bench, dataset: Path, run: Path) -> str:
    if (run / "options.json").is_file():
        options = json.loads((run / "options.json").read_text())
        (run / "options.json").write_text(json.dumps({**options, "device": "cuda:3"}))
    return "went on, " + as_it_was(bench, dataset, run)


WAYS = (
    as_it_was,
    label_map_corrected,
    another_option,
    another_device,
    scan_changed,
    killed_again,
    corrected_and_killed_again,
)


def must(holds: object, seen: str) -> None:
    if not holds:
        raise AssertionError(seen)


def _step(run: Path) -> int:
    from medseg.training.state import read_state

    state = read_state(run / "checkpoint.safetensors")
    return 0 if state is None else state.step


def _moment(run: Path) -> str:
    """How far the run was when it was killed."""
    if not (run / "options.json").is_file():
        return "before its options were kept"
    if (run / "model" / "manifest.json").is_file():
        return "after the model was saved"
    if (run / "model").exists() or _step(run) == STEPS:
        return "measuring or packing"
    if (run / "history.jsonl").is_file():
        return f"training, checkpoint of step {_step(run)}"
    count = len(list(run.glob("cache/*.image.npy")))
    return f"preparing, {count} of {CASES} cases done" if count else "looking at the files"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=42)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    place, wrong = Path(tempfile.mkdtemp(prefix="medseg-kill-")), 0
    table = ["| run | killed at event | which was | resumed | result |", "|---|---|---|---|---|"]
    try:
        bench = Bench(place)
        for number in range(1, arguments.runs + 1):
            way = WAYS[(number - 1) % len(WAYS)]
            dataset = write_toy(place / f"data{number}", cases=CASES)
            part = draw.randrange(3)  # before, in or after the training
            run, last = place / f"run{number}", draw.randint(*bench.events[part : part + 2])
            code, _ = bench.start(dataset, run, last=last)
            moment = _moment(run) if code == -signal.SIGKILL else f"not killed, code {code}"
            try:
                result = way(bench, dataset, run)
            except Exception as error:  # noqa: BLE001 - whatever breaks is a wrong run
                wrong, result = wrong + 1, f"**wrong**: {error}".replace(f"{place}/", "")[-600:]
            words = way.__name__.replace("_", " ")
            table.append(f"| {number} | {last} | {moment} | {words} | {result} |")
            print(table[-1], flush=True)
            shutil.rmtree(run, ignore_errors=True)
    finally:
        shutil.rmtree(place)
    head = f"{arguments.runs - wrong} of {arguments.runs} killed trainings right"
    head += f"; seed {arguments.seed}, {bench.events[-1]} events in an uninterrupted run."
    print(head)
    page = "\n".join([head, "", *table])
    (HERE / "results" / "train_kill.md").write_text(page + "\n", "utf-8")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
