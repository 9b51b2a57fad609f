"""What people's own files break: each shown case, right or wrong.

    python benchmarks/field_cases.py [--cases ../shared/cases] [--only io/decimal_comma ...]

The cases are written by the scripts of ``--cases``, whose READMEs say what is right; rows are in
field_rows/. Exits with 1 when any is wrong. A whole run writes results/field_cases.md.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = [f"field_rows.{path.stem}" for path in sorted((HERE / "field_rows").glob("*.py"))]
ROWS = {
    name: row for module in MODULES for name, row in importlib.import_module(module).ROWS.items()
}


def made(cases: Path, name: str, place: Path) -> Path:
    """Run the script that writes a case; gives the folder.

    In group geometry, image_cases.py has a folder for each case and seg_cases.py a file.
    """
    group, case = name.split("/")
    stem, target, words = case, place / group / case, []
    if case.startswith("seg_cases:"):
        stem, target = "seg_cases", place / group / "seg_cases"
    elif group == "geometry":
        stem, target, words = "image_cases", place / group, [case]
    command = [sys.executable, "-B", "-W", "ignore", str(cases / group / f"{stem}.py")]
    subprocess.run([*command, str(target), *words], check=True, capture_output=True)
    return target / case if words else target


def judge(name: str, cases: Path, place: Path) -> tuple[bool, str]:
    """Whether a case is right, and what was seen."""
    try:
        return True, ROWS[name][1](made(cases, name, place))
    except Exception as error:  # noqa: BLE001 - whatever breaks is a wrong row
        return False, f"{type(error).__name__}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, default=HERE.parents[1] / "shared" / "cases")
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="CASE")
    arguments = parser.parse_args()
    names, wrong = arguments.only or list(ROWS), 0
    table = ["| case | right | | seen |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="medseg-field-") as folder:
        for name in names:
            right, seen = judge(name, arguments.cases, Path(folder))
            wrong += not right
            nameless = re.sub(r"(?<![\w.])/(?:[^\s/]+/)+", "", seen)
            words = " ".join(nameless.replace("|", "/").split())
            verdict = "right" if right else "**wrong**"
            table.append(f"| {name} | {ROWS[name][0]} | {verdict} | {words[:260]} |")
            print(table[-1], flush=True)
    head = f"{len(names) - wrong} of {len(names)} cases right."
    print(head)
    if not arguments.only:
        page = "\n".join([head, "", *table])
        (HERE / "results" / "field_cases.md").write_text(page + "\n", "utf-8")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
