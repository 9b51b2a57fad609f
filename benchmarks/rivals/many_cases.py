"""Four ways to segment many series with one model; each in a process of its own, timed there.

    python benchmarks/rivals/many_cases.py WAY ARCHIVE MODEL OUTPUT

`batch` is a run of `medseg batch`, `workers` one with a worker for each core, `loop` calls one
loaded predictor for one series after another, `processes` starts `medseg segment` for each series.
Prints one line of JSON: seconds since the start of the process when each series was finished, and
processor seconds of all processes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
WAYS = ("batch", "workers", "loop", "processes")


def workers(archive: Path, model: str, output: Path) -> list[float]:
    return batch(archive, model, output, workers=os.cpu_count() or 1)


def batch(archive: Path, model: str, output: Path, *, workers: int = 1) -> list[float]:
    from medseg_pipelines.batch.events import Events
    from medseg_pipelines.batch.ledger.ledger import Row
    from medseg_pipelines.batch.options import BatchOptions
    from medseg_pipelines.batch.run import run_batch

    ended: list[float] = []

    class Watch(Events):
        def case_ended(self, row: Row) -> None:
            if row.state != "done":
                raise RuntimeError(f"a good series is {row.state}: {row.code} {row.message}")
            ended.append(since_start())

    options = BatchOptions(device="cpu", min_slices=1, workers=workers)
    run_batch(archive, model=model, output=output, options=options, events=Watch())
    return ended


def loop(archive: Path, model: str, output: Path) -> list[float]:
    from medseg.discovery import find_scans
    from medseg.inference import Predictor
    from medseg.reading import read_scan
    from medseg.writing import write_labels

    predictor = Predictor.load(model, device="cpu")
    output.mkdir()
    ended = []
    for source in find_scans(archive):
        scan = read_scan(source.path, series=source.series_uid or None)
        write_labels(predictor.predict(scan), output / f"{source.name}.nii.gz")
        ended.append(since_start())
    return ended


def processes(archive: Path, model: str, output: Path) -> list[float]:
    from medseg.discovery import find_scans

    output.mkdir()
    ended = []
    for source in find_scans(archive):
        choice = ["--series", source.series_uid] if source.series_uid else []
        target = output / f"{source.name}.nii.gz"
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from medseg_pipelines.cli import main; main()",
                "segment",
                str(source.path),
                *choice,
                "--model",
                model,
                "--output",
                str(target),
                "--device",
                "cpu",
            ],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        ended.append(since_start())
    return ended


def since_start() -> float:
    return time.perf_counter() - STARTED


def main() -> None:
    way, archive, model, output = sys.argv[1:5]
    ended = globals()[way](Path(archive), model, Path(output))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print(json.dumps({"ended": ended, "cpu": cpu}))


if __name__ == "__main__":
    main()
