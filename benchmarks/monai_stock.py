"""The pipeline of a plan against MONAI's stock transforms: time, memory, and where voxels end up.

    python benchmarks/monai_stock.py [--only WORD] [--rounds 3]

Both bring NIfTI files and the vendors' DICOM folders to the same spacing in RAS and normalise by
mean and standard deviation. Each runs in a process of its own, once to warm up and once measured,
in turns; medians are compared. Peak memory is of the process and its children, above what it held.

Displacement is that of the whole way. Each plane of what was loaded is recognised as a frame of the
files, whose header says where its pixels belong; those positions, as an image of three channels, go
through the transforms that follow, and are held against the affine that comes out, but for the
outermost voxels, where interpolation reaches beyond the image. Writes results/monai_stock.md and
.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rivals.cases import DATA, Case, Volume, cases, references, true_places

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from medseg.reading.monai_reader import grid_of  # noqa: E402

NIFTI = (
    "ct_mr_organs/aorta_ct/ct_cropped.nii.gz",
    "ct_mr_organs/example_ct_sm.nii.gz",
    "ct_mr_organs/example_mr_sm.nii.gz",
)
WAYS = ("medseg", "MONAI stock")
COARSER = 1.5
"""How much coarser, within slices, the spacing is that both resample to."""
ONE_SLICE_MM = 1000.0
"""So thick that a single slice stays one."""
EDGE = 4  # voxels at the border of what is known, where interpolation reaches beyond it
MADE = ("series", "mutation")


def all_cases(scratch: Path, data: Path) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Name and maker of every real case."""
    for name in NIFTI:
        yield name, lambda name=name: Case(data / name, [references(data, name)])
    for group, name, make in cases(scratch, data):
        if group not in MADE:
            yield f"{group}/{name}", make


def target_spacing(case: Case) -> tuple[float, float, float]:
    """What to resample to, mm: within slices coarser than the files, across them as they are."""
    placed = [frame for frame in case.truths[0] if frame.plane is not None]
    shapes = [np.shape(frame.values) for frame in placed]
    usual = max(shapes, key=shapes.count)  # an RT dose beside a CT has slices of its own
    planes = np.array(
        [frame.plane for frame, shape in zip(placed, shapes, strict=True) if shape == usual]
    )
    origins, across, down = planes[:, 0], planes[0, 1], planes[0, 2]
    normal = np.cross(across, down)
    depths = np.unique(np.round(origins @ normal / np.linalg.norm(normal), 2))
    gap = float(np.median(np.diff(depths))) if len(depths) > 1 else ONE_SLICE_MM
    in_plane = COARSER * float(np.linalg.norm(across))
    spacing = np.full(3, in_plane)
    spacing[int(np.abs(normal).argmax())] = gap
    return float(spacing[0]), float(spacing[1]), float(spacing[2])


def medseg_way(spacing: tuple[float, float, float], channels: int) -> tuple[Any, Any, Any]:
    """Load, the way to the grid, and all of it."""
    from medseg.planning import Component, Normalisation, Plan
    from medseg.preprocessing import array_pipeline, pipeline

    plan = Plan(
        spacing_mm=spacing,
        channels=("image",) * channels,
        normalisation=(Normalisation(),) * channels,
        patch=(8, 8, 8),
        batch=1,
        network=Component(name="unet"),
    )
    steps = pipeline(plan)
    return steps.transforms[0], array_pipeline(plan, labels=False).transforms[1:-1], steps


def stock_way(spacing: tuple[float, float, float], channels: int) -> tuple[Any, Any, Any]:
    """Load, the way to the grid, and all of it."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        NormalizeIntensityd,
        Orientation,
        Orientationd,
        Spacing,
        Spacingd,
    )

    load = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])
    to_grid = [Orientation("RAS", labels=None), Spacing(spacing)]
    steps = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=spacing),
            NormalizeIntensityd("image"),
        ]
    )
    return load, to_grid, steps


def displacement(image: Any, to_grid: list[Any], case: Case) -> tuple[float, int]:
    """Millimetres by which voxels end up elsewhere at most, and voxels that are judged."""
    import torch
    from monai.data import MetaTensor

    worst, judged = [], 0
    for truth in case.truths:
        apart = [0.0]
        for channel in np.asarray(image):
            places = true_places(Volume(channel, np.asarray(image.affine)), truth)
            known = np.isfinite(places[..., :1]).astype(np.float64)
            known[0, 0, 0] = 0  # so that what is laid around a tilted scan counts as unknown
            channels = np.concatenate([np.nan_to_num(places), known], axis=-1)
            moved = MetaTensor(
                torch.from_numpy(np.moveaxis(channels, -1, 0).astype(np.float32)),
                meta=dict(image.meta),
            )
            for step in to_grid:
                moved = step(moved)
            distances = _distances(moved)
            judged += len(distances)
            apart.append(float(distances.max(initial=0.0)))
        worst.append(max(apart))
    return min(worst), judged


def _distances(moved: Any) -> np.ndarray:
    """How far each voxel that is known lies from where its content says; not those at borders."""
    import torch

    reach = [min(EDGE, (n - 1) // 2) if n > 3 else 0 for n in moved.shape[1:]]
    padding = [n for axis in reversed(reach) for n in (axis, axis)]
    unknown = torch.nn.functional.pad((1 - moved[3:].as_tensor()).abs(), padding, value=1.0)
    near = torch.nn.functional.max_pool3d(unknown[None], [2 * n + 1 for n in reach], stride=1)
    known = (near[0, 0] < 1e-3).numpy()
    expected = grid_of(moved).to_world(np.argwhere(known))
    return np.linalg.norm(np.asarray(moved[:3])[:, known].T - expected, axis=1)


def measure(way: str, case: Case) -> dict[str, Any]:
    """One case by one way."""
    from dicom_speed import Peak

    from medseg.errors import MedsegError

    make = medseg_way if way == "medseg" else stock_way
    spacing, item = target_spacing(case), {"image": str(case.folder)}
    try:
        load, to_grid, _ = make(spacing, 1)
        image = load(item)["image"]
        apart_mm, judged = displacement(image, to_grid, case)
        steps = make(spacing, len(image))[2]
        steps(item)
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        idle = Peak()
        time.sleep(0.02)
        before, peak = idle.stop(), Peak()
        started = time.perf_counter()
        steps(item)
        seconds = time.perf_counter() - started
        memory = peak.stop() - before
    except MedsegError as error:
        return {"refused": error.code}
    except Exception as error:  # noqa: BLE001 - told to the parent, whatever it is
        return {"refused": getattr(error.__cause__, "code", None) or type(error).__name__}
    return {"seconds": seconds, "bytes": memory, "apart_mm": apart_mm, "judged": judged}


def child(way: str, only: str, data: Path) -> None:
    """Every case by one way; a line of JSON each."""
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in all_cases(Path(scratch), data):
            if only in name:
                print(json.dumps({"name": name, **measure(way, make())}), flush=True)


def run(way: str, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What a child of its own says of every case."""
    command = [sys.executable, __file__, "--child", way, "--only", arguments.only]
    done = subprocess.run(
        [*command, "--data", str(arguments.data)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row.pop("name"): row for row in rows}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One cell: the verdict of the first round, the medians of all."""
    first = runs[0]
    if "refused" in first:
        return first
    return {
        **first,
        "seconds": round(statistics.median(run["seconds"] for run in runs), 4),
        "all_seconds": [round(run["seconds"], 4) for run in runs],
        "bytes": int(statistics.median(run["bytes"] for run in runs)),
        "apart_mm": round(first["apart_mm"], 3),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown: cells, then counts."""
    lines = [f"| | {' | '.join(f'{way}: s | MB | mm' for way in WAYS)} |", "|" + "---|" * 7]
    lines += [
        f"| {name} | {' | '.join(_cells(row[way]) for way in WAYS)} |" for name, row in rows.items()
    ]
    both = [row for row in rows.values() if all("seconds" in row[way] for way in WAYS)]
    total = {way: sum(row[way]["seconds"] for row in both) for way in WAYS}
    most = {way: max((row[way]["bytes"] for row in both), default=0) / 2**20 for way in WAYS}
    sums = " | ".join(f"{total[way]:.2f} | {most[way]:.0f} | " for way in WAYS)
    lines.append(f"| **both read ({len(both)}): sum, most** | {sums} |")
    for verdict in ("in place", "refused", "displaced, silently"):
        counts = [sum(_verdict(row[way]) == verdict for row in rows.values()) for way in WAYS]
        cells = " | ".join(f" | | {count}" for count in counts)
        lines.append(f"| **all ({len(rows)}): {verdict}** | {cells} |")
    return "\n".join(lines)


def _verdict(cell: dict[str, Any]) -> str:
    if "refused" in cell:
        return "refused"
    return "in place" if cell["judged"] and cell["apart_mm"] < 0.1 else "displaced, silently"


def _cells(cell: dict[str, Any]) -> str:
    if "refused" in cell:
        return f"refused: {cell['refused']} | | "
    mm = f"{cell['apart_mm']:.2f}" if cell["judged"] else "none of the files' images"
    mm = mm if _verdict(cell) == "in place" else f"**{mm}**"
    return f"{cell['seconds']:.3f} | {cell['bytes'] / 2**20:.0f} | {mm}"


def main() -> None:
    """Both ways in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=WAYS)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.only, arguments.data)
        return
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(arguments.rounds):
        for way in WAYS if number % 2 == 0 else WAYS[::-1]:
            runs[way].append(run(way, arguments))
    rows = {
        name: {way: summary([one[name] for one in runs[way]]) for way in WAYS}
        for name in runs[WAYS[0]][0]
    }
    page = table(rows)
    print(page)
    if not arguments.only:
        versions = {name: metadata.version(name) for name in ("monai", "torch", "numpy")}
        kept = {"python": platform.python_version(), **versions, "rows": rows}
        (arguments.output / "monai_stock.json").write_text(json.dumps(kept, indent=1) + "\n")
        (arguments.output / "monai_stock.md").write_text(page + "\n")


if __name__ == "__main__":
    main()
