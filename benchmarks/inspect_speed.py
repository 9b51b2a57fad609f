"""How long a look at the headers of 10,000 DICOM files takes: the goal is 1 ms per file and core.

Writes the files (5 kB each, 100 series) into a temporary folder, and prints processor time, which
other work on the machine does not change much.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from dicom_phantom import Series, random_stored
from medseg.discovery.inspection import inspect

SLICES = 100


def write(folder: Path, files: int) -> None:
    for number in range(files // SLICES):
        Series(random_stored((SLICES, 48, 40), seed=number)).write(folder / f"{number:03d}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="Look at this folder in place of phantoms.")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="medseg-"))
    try:
        if not arguments.folder:
            write(folder, arguments.files)
        opened = []
        real, wall = time.process_time(), time.perf_counter()
        reports = inspect(folder, progress=lambda done, total, message: opened.append(total))
        used, passed = time.process_time() - real, time.perf_counter() - wall
    finally:
        if not arguments.folder:
            shutil.rmtree(folder)
    count = opened[-1]
    kinds = {report.verdict.outcome for report in reports}
    print(f"{count} files, {len(reports)} volumes, verdicts: {', '.join(sorted(kinds))}")
    print("| step | ms per file | s in all |")
    print("|---|---|---|")
    print(f"| processor | {1000 * used / count:.2f} | {used:.1f} |")
    print(f"| clock | {1000 * passed / count:.2f} | {passed:.1f} |")


if __name__ == "__main__":
    main()
