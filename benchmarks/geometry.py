"""Where DICOM readers put voxels: each against the headers of real and of spoilt series.

    python benchmarks/geometry.py [--only WORD] [--reader NAME ...] [--timeout 120]

Every reader runs in a child process of its own, with a time limit. A reader that is not
installed has an empty column. Prints the table and writes results/geometry.md and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import selectors
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rivals.cases import DATA, Case, Judgement, Volume, cases, judge
from rivals.readers import READERS

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "medseg": "medseg",
    "SimpleITK": "SimpleITK",
    "MONAI ITKReader": "itk-io",
    "MONAI PydicomReader": "monai",
    "highdicom": "highdicom",
    "dicom2nifti": "dicom2nifti",
    "dcm2niix": "dcm2niix",
}


class Reader:
    """A reader in a child process, started again when it has died."""

    def __init__(self, name: str, timeout: float) -> None:
        self.name, self.timeout = name, timeout
        self.child: subprocess.Popen[str] | None = None

    def read(self, folder: Path, out: Path) -> dict[str, Any]:
        """The child's answer; ``crashed`` when it died or took too long."""
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, str(HERE / "rivals" / "readers.py"), self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        request = {"path": str(folder), "out": str(out)}
        try:
            self.child.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self.child.stdin.flush()  # type: ignore[union-attr]
            line = self._line()
        except BrokenPipeError:
            line = ""
        if line:
            return dict(json.loads(line))
        self.close()
        return {"crashed": True}

    def _line(self) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)  # type: ignore[union-attr,arg-type]
            if not selector.select(self.timeout):
                return ""
        return self.child.stdout.readline()  # type: ignore[union-attr]

    def close(self) -> None:
        """End the child."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None


def measure(reader: Reader, case: Case) -> dict[str, Any]:
    """One cell of the table."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        reply = reader.read(case.folder, out)
        if "missing" in reply:
            return {"outcome": "not installed", "cell": "not installed"}
        if "crashed" in reply:
            return {"outcome": "loud", "cell": "crashed or timed out"}
        volumes = [
            Volume(np.load(out / stored["file"]), np.array(stored["affine"]))
            for stored in reply["volumes"]
        ]
    volumes = [volume if volume.values.ndim == 3 else _with_depth(volume) for volume in volumes]
    result = judged(volumes, reply["refused"], case)
    if reply["resampled"]:
        result["cell"] += " (and a resampled file)"
    return {**result, "refused": reply["refused"], "seconds": round(reply["seconds"], 3)}


def _with_depth(volume: Volume) -> Volume:
    return Volume(volume.values.reshape((*volume.values.shape, 1, 1)[:3]), volume.affine)


def judged(volumes: list[Volume], refused: list[str], case: Case) -> dict[str, Any]:
    """Exact, loud or silently wrong, and by how much."""
    if not volumes:
        return {"outcome": "loud", "cell": f"loud: {_word(refused)}"}
    best = min(
        (judge(volumes, frames) for frames in case.truths),
        key=lambda judgement: (judgement.wrong, judgement.lost),
    )
    entry = {
        "displacement_mm": round(best.displacement_mm, 3),
        "wrong_percent": round(100 * best.wrong, 2),
        "frames": len(case.truths[0]),
        "frames_lost": best.lost,
    }
    if case.reference:
        entry["equals_reference"] = judge(volumes, case.reference).exact
    return {**_verdict(best, refused, entry["frames"]), **entry}


def _verdict(best: Judgement, refused: list[str], frames: int) -> dict[str, str]:
    if best.exact and not refused:
        return {"outcome": "exact", "cell": "ok"}
    if refused and not best.misread:
        read = frames - best.lost
        return {
            "outcome": "loud",
            "cell": f"{read} of {frames} slices ok, rest loud: {_word(refused)}",
        }
    lost = f", {best.lost} of {frames} slices lost" if best.lost else ""
    moved = f"{best.displacement_mm:.1f} mm, " if best.displacement_mm >= 0.1 else ""
    return {"outcome": "SILENT", "cell": f"**SILENT {moved}{100 * best.wrong:.0f} %{lost}**"}


def _word(refused: list[str]) -> str:
    first = refused[0] if refused else "nothing came out"
    return first if first.isupper() else "raises"


def table(rows: list[dict[str, Any]], readers: list[str]) -> str:
    """The results as Markdown: cells, then counts."""
    lines = [
        f"| | series | {' | '.join(readers)} |",
        "|" + "---|" * (len(readers) + 2),
    ]
    for row in rows:
        cells = [row["readers"][name]["cell"] for name in readers]
        lines.append(f"| {row['group']} | {row['name']} | {' | '.join(cells)} |")
    for kind in ("exact", "loud", "SILENT"):
        counts = [
            str(sum(row["readers"][name]["outcome"] == kind for row in rows)) for name in readers
        ]
        lines.append(f"| **all** | **{kind}** | {' | '.join(counts)} |")
    return "\n".join(lines)


def versions(readers: list[str]) -> dict[str, str]:
    """Of the readers and of the interpreter."""
    versions = {"python": platform.python_version()}
    for name in readers:
        try:
            versions[name] = f"{PACKAGES[name]} {metadata.version(PACKAGES[name])}"
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def main() -> None:
    """Read every case with every reader, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose group or name holds this word")
    parser.add_argument("--reader", action="append", choices=list(READERS))
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    names = arguments.reader or list(READERS)
    readers = [Reader(name, arguments.timeout) for name in names]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for group, name, make in cases(Path(scratch), arguments.data):
            if arguments.only not in f"{group}/{name}":
                continue
            case = make()
            answers = {reader.name: measure(reader, case) for reader in readers}
            rows.append({"group": group, "name": name, "readers": answers})
            cells = "; ".join(f"{reader}: {answers[reader]['cell']}" for reader in names)
            print(f"{group}/{name}: {cells}", flush=True)
    for reader in readers:
        reader.close()
    page = table(rows, names)
    print(page)
    if not arguments.only:
        arguments.output.mkdir(exist_ok=True)
        kept = {"versions": versions(names), "rows": rows}
        (arguments.output / "geometry.json").write_text(json.dumps(kept, indent=1) + "\n")
        (arguments.output / "geometry.md").write_text(page + "\n")


if __name__ == "__main__":
    main()
