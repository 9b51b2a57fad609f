"""Memory of a long run: 2,000 tiny series, one run, resident memory of it and of its worker.

    python benchmarks/batch_soak.py [--count 2000] [--workers 1] [--cluster local:1]

The slope is fitted to the second half, after caches have filled, and told in MB for each 1,000
series; so is how long a case takes at the start and at the end. Then the archive is run again:
milliseconds for each finished series. The network is tiny and not trained.
Writes results/batch_soak.md and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from hospital.archive import write_many
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger.ledger import Row
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.cluster import pool_of
from toy_model import tiny_model

HERE = Path(__file__).resolve().parent
DATABASES = ("ledger", "index")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch(Events):
    """Looks at the memory of this process and of each that it has started, every few cases."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.ended: list[float] = []
        self.own: list[tuple[int, float]] = []
        self.workers: list[tuple[int, float]] = []

    def case_ended(self, row: Row) -> None:
        """Count, and look when it is time."""
        if row.state != "done":
            raise RuntimeError(f"a good series is {row.state}: {row.code} {row.message}")
        self.ended.append(time.perf_counter())
        if len(self.ended) % self.every == 0:
            self.own.append((len(self.ended), resident_mb(os.getpid())))
            self.workers.append((len(self.ended), max(map(resident_mb, children()), default=0.0)))


def resident_mb(pid: int) -> float:
    """Resident memory of a process, 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except OSError:
        return 0.0


def children() -> list[int]:
    """Processes that this one has started."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def kb_each(folder: Path, name: str, count: int) -> float:
    """Size of a database and of what belongs to it, for each series."""
    return sum(path.stat().st_size for path in folder.glob(f"{name}.sqlite*")) / 1e3 / count


def slope(seen: list[tuple[int, float]]) -> float:
    """MB for each 1,000 series in the second half."""
    half = seen[len(seen) // 2 :]
    counts, megabytes = np.array(half, float).T
    return 1000.0 * float(np.polyfit(counts, megabytes, 1)[0])


def pace(ended: list[float]) -> tuple[float, float]:
    """Median milliseconds between two cases' ends, in the second and in the last fifth."""
    gaps = 1e3 * np.diff(ended)
    fifth = max(1, len(gaps) // 5)
    return statistics.median(gaps[fifth : 2 * fifth]), statistics.median(gaps[-fifth:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cluster", help="Workers of a Dask cluster in place of our own.")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    pool = pool_of(arguments.cluster) if arguments.cluster else None
    options = BatchOptions(device="cpu", min_slices=1, workers=arguments.workers, pool=pool)
    watch = Watch(every=max(1, arguments.count // 100))
    with tempfile.TemporaryDirectory(prefix="medseg-soak-") as name:
        root = Path(name)
        write_many(root / "archive", count=arguments.count)
        model = tiny_model(root / "tiny").folder
        places = {"model": model, "output": root / "out", "options": options}
        tally = run_batch(root / "archive", events=watch, **places)
        start = time.perf_counter()
        run_batch(root / "archive", **places)
        again = 1e3 * (time.perf_counter() - start) / arguments.count
        own = {name: kb_each(root / "out" / ".medseg", name, arguments.count) for name in DATABASES}
    first, last = pace(watch.ended)
    found = {
        "series": tally.done,
        "seconds": tally.seconds,
        "run_mb_per_1000": slope(watch.own),
        "worker_mb_per_1000": slope(watch.workers),
        "run_mb": watch.own,
        "worker_mb": watch.workers,
        "ms_per_case_at_the_start": first,
        "ms_per_case_at_the_end": last,
        "ms_per_finished_series": again,
        "kb_per_series": own,
    }
    text = table(found)
    print(text)
    (arguments.results / "batch_soak.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.results / "batch_soak.md").write_text(text)


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    rows = [
        ("tiny series, all done", f"{found['series']} in {found['seconds']:.0f} s"),
        ("memory of the run, MB for each 1,000", f"{found['run_mb_per_1000']:+.2f}"),
        ("memory of the worker, MB for each 1,000", f"{found['worker_mb_per_1000']:+.2f}"),
        ("ms for each case, second fifth", f"{found['ms_per_case_at_the_start']:.0f}"),
        ("ms for each case, last fifth", f"{found['ms_per_case_at_the_end']:.0f}"),
        ("ms for each finished series, run again", f"{found['ms_per_finished_series']:.2f}"),
        *((f"{name}, kB for each", f"{kb:.1f}") for name, kb in found["kb_per_series"].items()),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""])


if __name__ == "__main__":
    main()
