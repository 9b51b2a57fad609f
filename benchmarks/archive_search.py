"""What a search of an archive costs: the first, and the next when nothing or little has changed.

Writes archives of phantoms into a temporary folder, one folder per series, and searches each of
them several times. Processor time is what other work on the machine does not change much; the
clock's is beside it. The goal is less than 1 ms per series that is finished.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from dicom_phantom import Series, random_stored
from medseg_pipelines.batch.archive.rules import make_rules
from medseg_pipelines.batch.archive.search import search

RESULTS = Path(__file__).parent / "results" / "archive_search.md"
ARCHIVES = ((200, 30), (20, 300))
REPEATS = 5


def write(folder: Path, series: int, slices: int) -> None:
    for number in range(series):
        one = Series(random_stored((slices, 16, 16), seed=number))
        one.write(folder / f"patient{number // 4}" / "study" / f"series{number}")


def seconds(work: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Processor and clock time of the quickest of several runs."""
    taken = []
    for _ in range(times):
        real, wall = time.process_time(), time.perf_counter()
        work()
        taken.append((time.process_time() - real, time.perf_counter() - wall))
    return min(taken)


def measure(series: int, slices: int) -> list[tuple[str, float, float]]:
    place = Path(tempfile.mkdtemp(prefix="medseg-"))
    root, index = place / "root", place / "index"
    rules = make_rules(where=["Modality=CT"], description=["*lung*"])
    try:
        write(root, series, slices)
        rows = [("first search", *seconds(lambda: search(root, index)))]
        rows.append(("nothing changed", *seconds(lambda: search(root, index), REPEATS)))
        changed = next(path for path in root.rglob("*") if path.is_file())
        os.utime(changed, ns=(0, 0))
        rows.append(("one file changed", *seconds(lambda: search(root, index))))
        rows.append(("a new description rule", *seconds(lambda: search(root, index, rules=rules))))
        again = seconds(lambda: search(root, index, rules=rules), REPEATS)
        rows.append(("the same rule again", *again))
    finally:
        shutil.rmtree(place)
    return rows


def table(series: int, slices: int, rows: list[tuple[str, float, float]]) -> list[str]:
    lines = [
        f"{series} series of {slices} files:",
        "",
        "| search | processor, ms per series | clock, ms per series | clock, s in all |",
        "|---|---|---|---|",
    ]
    for name, real, wall in rows:
        each = f"{1000 * real / series:.2f} | {1000 * wall / series:.2f}"
        lines.append(f"| {name} | {each} | {wall:.3f} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs=2, metavar=("COUNT", "SLICES"))
    arguments = parser.parse_args()
    lines = []
    for series, slices in [arguments.series] if arguments.series else ARCHIVES:
        lines += table(series, slices, measure(series, slices))
    print("\n".join(lines))
    if not arguments.series:
        load = os.getloadavg()[0]
        head = f"On {os.cpu_count()} cores, with {load:.1f} processes at work on average."
        RESULTS.write_text("\n".join([head, "", *lines]).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main()
