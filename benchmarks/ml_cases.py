"""Training, prediction and evaluation of data that go wrong: each case, right or wrong.

    python benchmarks/ml_cases.py [--cases ../shared/cases/ml] [--only M33 M43]

The cases are written by the scripts of ``--cases``, whose README says what is right. Commands are
the real ones, run in this process, which loads torch once; that of M12 has one of its own. Exits
with 1 when any is wrong. A whole run writes results/ml_cases.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ml_rows import data, runs
from ml_rows.lab import Lab

HERE = Path(__file__).resolve().parent
CASES = HERE.parents[1] / "shared" / "cases" / "ml"
ROWS: dict[str, Callable[[Lab], str]] = {
    name.upper(): row
    for module in (runs, data)
    for name, row in vars(module).items()
    if name[:1] == "m" and name[1:].isdigit()
}


def judge(row: Callable[[Lab], str], lab: Lab) -> tuple[bool, str]:
    """Whether a row is right, and what was seen."""
    try:
        return True, row(lab)
    except Exception as error:  # noqa: BLE001 - whatever breaks is a wrong row
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        return False, f"{kind}{error}"


def line(name: str, right: bool, seen: str, place: Path) -> str:
    """A row of the table; long sentences are cut, and so are paths of this machine."""
    words = " ".join(seen.replace(f"{place}/", "").replace("|", "/").split())
    words = re.sub(r"(?<![\w.])/(?:[^\s/]+/)+", "", words)
    cut = words if len(words) < 260 else f"{words[:257]}..."
    return f"| {name} | {'right' if right else '**wrong**'} | {cut} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="ID")
    arguments = parser.parse_args()
    names, wrong = sorted(arguments.only or ROWS), []
    place = Path(tempfile.mkdtemp(prefix="medseg-ml-"))
    lab = Lab(arguments.cases, place)
    table = ["| case | | seen |", "|---|---|---|"]
    start = time.monotonic()
    try:
        for name in names:
            right, seen = judge(ROWS[name], lab)
            wrong += [] if right else [name]
            table.append(line(name, right, seen, place))
            print(f"{time.monotonic() - start:5.0f} s {table[-1]}", flush=True)
    finally:
        shutil.rmtree(place)
    head = f"{len(names) - len(wrong)} of {len(names)} cases right, by {lab.commands} commands."
    print(head)
    if not arguments.only:
        page = "\n".join([head, "", *table])
        (HERE / "results" / "ml_cases.md").write_text(page + "\n", "utf-8")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
