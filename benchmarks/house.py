"""The source, measured: lines by package, lengths of functions, imports, names.

``python benchmarks/house.py`` prints a table; ``--list`` adds where each fault is.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from architecture import measures
from architecture.house import PACKAGES

HEAVY = ("medseg_pipelines.batch", "medseg_pipelines.cluster", "medseg_pipelines.pacs")


def main() -> None:
    lines = measures.lines_by_package()
    for name, count in lines.items():
        print(f"{name:34} {count:6}")
    print(f"{'batch + PACS + cluster':34} {sum(lines[name] for name in HEAVY):6}")
    print(f"{'all source':34} {sum(lines.values()):6}\n")
    for name, value in measures.summary().items():
        print(f"{name:34} {value:6g}")
    if "--list" in sys.argv:
        faults = [
            *map(" <-> ".join, measures.circles(*PACKAGES)),
            *map(" <-> ".join, measures.circles(measures.BENCHMARKS)),
            *measures.upward_imports(),
            *measures.private_imports(),
            *measures.banned_names(),
        ]
        print("\n".join(faults))


if __name__ == "__main__":
    main()
