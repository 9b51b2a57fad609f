"""Time and peak memory of reading a CT of 300 slices of 512 x 512, by transfer syntax.

    python benchmarks/dicom_speed.py [--slices 300] [--compressed-slices 300] [--repeat 3]

The series is made of smooth tissue and the noise of a scanner. Every reader starts in a fresh
process for every reading; readers take turns, and medians are compared. Times are of the reading
alone, without imports; peak memory is of the process and its children together, above what it
held before. What a reader returns must equal the pixels that were written. Writes
results/dicom_speed.md and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rivals.readers import READERS

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
sys.path.append(str(HERE.parent / "tests"))

SYNTAXES = {
    "uncompressed": "1.2.840.10008.1.2.1",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "RLE": "1.2.840.10008.1.2.5",
}
RIVALS = ["medseg", "SimpleITK", "highdicom", "dcm2niix"]
SIZE = 512


def stored_slice(k: int) -> np.ndarray:
    """Stored values (512, 512): an ellipse of tissue with organs and noise, HU + 1024."""
    across, down = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
    body = across**2 / 0.7 + down**2 / 0.45 < 1
    organs = 60 * np.sin(5 * across + k / 20) * np.cos(4 * down)
    bone = across**2 + (down - 0.45) ** 2 < 0.008
    hounsfield = np.where(body, 40 + organs, -1000) + 700 * bone
    noise = np.random.default_rng(k).normal(0, 12, (SIZE, SIZE))
    return np.clip(hounsfield + noise + 1024, 0, 4095).astype(np.uint16)


def write_series(folder: Path, syntax: str, slices: int) -> None:
    """A series of one syntax; pyjpegls, openjpeg and pylibjpeg-rle encode it."""
    from dicom_phantom import Series, save

    folder.mkdir()
    empty = np.broadcast_to(np.uint16(0), (slices, SIZE, SIZE))
    series = Series(empty, pixel_spacing_mm=(0.8, 0.7))
    for k in range(slices):
        ds = series.slice(k)
        ds.PixelData = stored_slice(k).tobytes()
        ds.BitsStored, ds.HighBit = 12, 11
        if syntax != SYNTAXES["uncompressed"]:
            ds.compress(syntax, generate_instance_uid=False)
        save(ds, folder / f"{(k * 7919) % 10007:05d}.dcm")


def read_once(name: str, folder: Path) -> None:
    """In the child: read, and print seconds, bytes and a sum that tells whether it is right."""
    import importlib

    for module in {
        "medseg": ["medseg.reading.dicom.series", "pydicom", "medseg.volume"],
        "SimpleITK": ["SimpleITK"],
        "highdicom": ["highdicom"],
        "dcm2niix": ["nibabel"],
    }[name]:
        importlib.import_module(module)
    before = _resident(os.getpid())
    peak = Peak()
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        volumes, refused = READERS[name](folder, Path(out))
        seconds = time.perf_counter() - started
        memory = peak.stop() - before
    values = volumes[0][0] if volumes else np.zeros(1)
    report = {
        "seconds": seconds,
        "bytes": memory,
        "shape": list(values.shape),
        "refused": refused,
        "sum": float(values.sum(dtype=np.float64)),
        "squares": float(np.square(values[..., ::7], dtype=np.float64).sum())
        if min(values.shape) > 1
        else 0.0,
    }
    print(json.dumps(report))


class Peak:
    """The most memory of this process and its children, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.most = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.done.wait(0.004):
            self.most = max(self.most, _resident(os.getpid()) + _children())

    def stop(self) -> int:
        """End watching; bytes."""
        self.done.set()
        self.thread.join()
        return self.most


def _resident(pid: int) -> int:
    """Bytes of a process that are its own (no shared pages), 0 when it is gone."""
    try:
        _, resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[:3]
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _children() -> int:
    total = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        total += sum(_resident(int(pid)) for pid in children)
    return total


def truth(slices: int) -> float:
    """Sum of all values, HU."""
    return sum(float(stored_slice(k).sum(dtype=np.float64)) for k in range(slices)) - (
        1024.0 * slices * SIZE * SIZE
    )


def compare(folder: Path, slices: int, repeat: int) -> dict[str, dict[str, Any]]:
    """Every rival in turn, `repeat` times; medians."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in RIVALS}
    for _ in range(repeat):
        for name in RIVALS:
            done = subprocess.run(
                [sys.executable, __file__, "--child", name, str(folder)],
                capture_output=True,
                text=True,
                check=False,
            )
            last = done.stdout.strip().splitlines()[-1:] or ["{}"]
            try:
                runs[name].append(json.loads(last[0]))
            except json.JSONDecodeError:
                runs[name].append({})
    expected, size = truth(slices), slices * SIZE * SIZE * 2
    return {name: _median(measured, expected, size) for name, measured in runs.items()}


def _median(measured: list[dict[str, Any]], expected: float, size: int) -> dict[str, Any]:
    good = [result for result in measured if result.get("shape")]
    if len(good) < len(measured):
        return {"correct": False, "seconds": None, "volumes": None}
    return {
        "correct": all(abs(result["sum"] - expected) < 1e-6 * abs(expected) for result in good),
        "seconds": round(statistics.median(result["seconds"] for result in good), 3),
        "all_seconds": [round(result["seconds"], 3) for result in good],
        "volumes": round(statistics.median(result["bytes"] for result in good) / size, 2),
    }


def table(results: dict[str, Any]) -> str:
    """Markdown: seconds, and peak memory in sizes of the int16 volume."""
    lines = [
        f"| pixels | slices | {' | '.join(RIVALS)} | medseg / fastest other |",
        "|" + "---|" * (len(RIVALS) + 3),
    ]
    for syntax, result in results.items():
        others = [
            measured["seconds"]
            for name, measured in result["readers"].items()
            if name != "medseg" and measured["correct"]
        ]
        own = result["readers"]["medseg"]["seconds"]
        ratio = f"{own / min(others):.2f}" if others and own else "-"
        cells = [_cell(result["readers"][name]) for name in RIVALS]
        lines.append(f"| {syntax} | {result['slices']} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def _cell(measured: dict[str, Any]) -> str:
    if measured["seconds"] is None:
        return "fails"
    mark = "" if measured["correct"] else " WRONG"
    return f"{measured['seconds']:.2f} s, {measured['volumes']:.1f} x{mark}"


def main() -> None:
    """Make each series, let all readers read it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--compressed-slices", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("READER", "FOLDER"))
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if arguments.child:
        read_once(arguments.child[0], Path(arguments.child[1]))
        return
    results = {}
    for syntax, uid in SYNTAXES.items():
        slices = arguments.slices if syntax == "uncompressed" else arguments.compressed_slices
        with tempfile.TemporaryDirectory() as scratch:
            write_series(Path(scratch, "ct"), uid, slices)
            readers = compare(Path(scratch, "ct"), slices, arguments.repeat)
        results[syntax] = {"slices": slices, "readers": readers}
        print(syntax, json.dumps(readers), flush=True)
    kept = {"cores": os.cpu_count(), "load": os.getloadavg(), "results": results}
    page = table(results)
    print(page)
    arguments.output.mkdir(exist_ok=True)
    (arguments.output / "dicom_speed.json").write_text(json.dumps(kept, indent=1) + "\n")
    (arguments.output / "dicom_speed.md").write_text(page + "\n")


if __name__ == "__main__":
    main()
