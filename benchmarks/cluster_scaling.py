"""Cases a minute on 1, 2 and 4 workers of a Dask cluster on this machine.

    python benchmarks/cluster_scaling.py [--count 80] [--workers 1 2 4]

Once with work that waits (0.5 s for each case, as if for a GPU), which shows what the run, the
ledger and Dask add; once with work that keeps one core busy, which shows the cores; and once with
work that does nothing but leave results of 2 MB, which shows how many cases a second one run can
hand out, publish and write down. The time runs from the first case that is begun to the last that
ends. Writes results/cluster_scaling.md and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from tasks import simulated_work

from hospital.archive import write_many
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger.ledger import Row
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.cluster import pool_of

HERE = Path(__file__).resolve().parent
WORK = {
    "waits 0.5 s": simulated_work.sleep,
    "keeps a core busy": simulated_work.compute,
    "only writes 2 MB": simulated_work.write,
}


class Watch(Events):
    """Notes when the first case is begun and when each ends."""

    def __init__(self) -> None:
        self.begun = 0.0
        self.ended: list[float] = []

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """Note the first."""
        self.begun = self.begun or time.perf_counter()

    def case_ended(self, row: Row) -> None:
        """Note the end."""
        if row.code != "MEASURED" and row.state != "done":
            raise RuntimeError(f"{row.state}: {row.code} {row.message}")
        self.ended.append(time.perf_counter())


def seconds(archive: Path, output: Path, workers: int, work: Any) -> float:
    """From the first case that is begun to the last that ends."""
    watch = Watch()
    options = BatchOptions(device="cpu", min_slices=1, pool=pool_of(f"local:{workers}", work=work))
    run_batch(archive, model="hippocampus-mr", output=output, options=options, events=watch)
    return watch.ended[-1] - watch.begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="medseg-scaling-") as name:
        root = Path(name)
        write_many(root / "archive", count=arguments.count)
        for kind, work in WORK.items():
            for workers in arguments.workers:
                output = root / f"{work.__name__}-{workers}"
                took = seconds(root / "archive", output, workers, work)
                rows.append({"work": kind, "workers": workers, "seconds": took})
                print(f"{kind}, {workers} workers: {took:.1f} s", flush=True)
    text = table(rows, arguments.count)
    print(text)
    (arguments.results / "cluster_scaling.json").write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.results / "cluster_scaling.md").write_text(text)


def table(rows: list[dict[str, Any]], count: int) -> str:
    """Markdown; what waits is held against waiting alone."""
    lines = [
        f"{count} cases, {os.cpu_count()} cores",
        "",
        "| work | workers | seconds | cases/min | of one worker | of the ideal |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        alone = next(one["seconds"] for one in rows if one["work"] == row["work"])
        first = next(one["workers"] for one in rows if one["work"] == row["work"])
        gain = alone / row["seconds"]
        lines.append(
            f"| {row['work']} | {row['workers']} | {row['seconds']:.1f}"
            f" | {60 * count / row['seconds']:.0f} | {gain:.2f} x"
            f" | {100 * gain * first / row['workers']:.0f} % |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
