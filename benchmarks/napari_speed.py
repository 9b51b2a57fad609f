"""How long a person waits in napari: opening, slicing, painting, running a model, starting up.

    python benchmarks/napari_speed.py [--repeat 5] [--slices 300] [--rows 512]

1. A CT phantom of 300 x 512 x 512 (int16) and its labels (uint8) are opened from NIfTI files by the
   plugin, stepped through in three planes, painted in and undone, by a real viewer on a virtual
   display. Every time is until the canvas has been drawn.
2. The shipped model segments a large volume in the worker that the Segment panel uses, while the
   window is stepped through: seconds for a step with and without it, and for a cancel.
3. Fresh processes start a viewer with the plugin and with it hidden from napari, in turns: seconds
   of wall and of processor time, medians. Then what the first opening of each panel adds.

Writes results/napari_speed.md and .json.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from screenshots import own_autosave, virtual_display, wait_for

RESULTS = Path(__file__).with_name("results")
MODEL = "hippocampus-mr"
LARGE_MR = (192, 192, 160)  # voxels of 1 mm; minutes of work for the shipped model
STEPS = 30
STROKES = 10
PANELS = ("Study", "Segment", "Labels", "Train", "Review", "Export")

STARTUP = """
import importlib.metadata as metadata, json, os, sys, time
hidden, panel = sys.argv[1:3]
every = metadata.distributions
metadata.distributions = lambda **how: (
    one for one in every(**how) if not (hidden and str(one._path.name).startswith(hidden))
)
began, busy = time.perf_counter(), time.process_time()
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=True, show_welcome_screen=False)
QApplication.processEvents()
told = {"wall": time.perf_counter() - began, "cpu": time.process_time() - busy}
if panel:
    began = time.perf_counter()
    from medseg_napari.panels.dock import open_tab
    open_tab(viewer, panel)
    QApplication.processEvents()
    told["panel"] = time.perf_counter() - began
print(json.dumps(told), flush=True)
os._exit(0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rows", type=int, default=512)
    options = parser.parse_args()
    with own_autosave(), virtual_display():
        found = {"machine": machine()}
        found["startup"] = startup(options.repeat)
        found["viewing"] = viewing(options.slices, options.rows)
        found["inference"] = inference(options.repeat)
    RESULTS.joinpath("napari_speed.json").write_text(json.dumps(found, indent=2) + "\n")
    RESULTS.joinpath("napari_speed.md").write_text(table(found, options))
    print(RESULTS.joinpath("napari_speed.md").read_text())


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "napari": version("napari"),
        "torch": version("torch"),
    }


def startup(repeat: int) -> dict[str, Any]:
    """Seconds until an empty viewer stands, in fresh processes that take turns."""
    start("medseg-", "")  # fills the disk cache
    runs: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for _ in range(repeat):
        runs["without"].append(start("medseg-", ""))
        runs["with"].append(start("", ""))
    found: dict[str, Any] = {
        f"{kind}_{clock}": statistics.median(run[clock] for run in made)
        for kind, made in runs.items()
        for clock in ("wall", "cpu")
    }
    found["runs"] = runs
    found["manifest"] = manifest_seconds()
    found["panels"] = {name: start("", name)["panel"] for name in PANELS if _offered(name)}
    return found


def start(hidden: str, panel: str) -> dict[str, float]:
    call = [sys.executable, "-c", STARTUP, hidden, panel]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=300)
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


def manifest_seconds() -> float:
    """Processor seconds to read the plugin's manifest, which is all of it that a start touches."""
    from npe2 import PluginManifest

    times = []
    for _ in range(5):
        busy = time.process_time()
        PluginManifest.from_distribution("medseg")
        times.append(time.process_time() - busy)
    return statistics.median(times)


def _offered(panel: str) -> bool:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    widgets = manager.get_manifest("medseg").contributions.widgets
    return panel in {widget.display_name for widget in widgets}


def viewing(slices: int, rows: int) -> dict[str, Any]:
    """Seconds to open, step, paint and undo on a large CT."""
    import napari

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = large_ct(Path(folder), slices, rows)
        viewer = napari.Viewer(show=True, show_welcome_screen=False)
        viewer.window.resize(1240, 800)
        settle()
        for kind, path in paths.items():
            once = drawn(lambda p=path: viewer.open(str(p), plugin="medseg"))
            found[f"open_{kind}"] = spread([once])
    for plane in ("axial", "coronal", "sagittal"):
        found[f"step_{plane}"] = spread(steps(viewer, plane))
    labels = viewer.layers[-1]
    found |= painting(viewer, labels)
    viewer.close()
    return found


def large_ct(folder: Path, slices: int, rows: int) -> dict[str, Path]:
    """The phantom and its labels as uncompressed NIfTI, by taking its voxels several times."""
    from medseg.phantoms.abdomen import abdominal_ct
    from medseg.volume import Grid, LabelMap, Scan
    from medseg.writing import write_labels, write_scan

    scan, labels = abdominal_ct(7)
    wanted = (rows, rows, slices)
    sizes = zip(wanted, scan.grid.shape, strict=True)
    index = np.ix_(*(np.arange(new) * old // new for new, old in sizes))
    affine = scan.grid.affine.copy()
    affine[:3, :3] *= np.array(scan.grid.shape) / wanted
    grid = Grid(wanted, affine)
    voxels = scan.voxels[0].astype(np.int16)[index][None]
    return {
        "scan": write_scan(Scan(voxels, grid, "CT"), folder / "ct.nii"),
        "labels": write_labels(
            LabelMap(labels.values[index], grid, labels.table), folder / "l.nii"
        ),
    }


def steps(viewer: Any, plane: str) -> Iterator[float]:
    """Seconds for each of some slices in one plane."""
    from medseg_napari.display import commands

    commands.show_plane(viewer, plane)
    settle()
    axis = commands.PLANES[plane][0]
    middle = int(viewer.dims.nsteps[axis]) // 2
    for number in range(STEPS):
        yield drawn(lambda n=number: viewer.dims.set_current_step(axis, middle - STEPS // 2 + n))


def painting(viewer: Any, labels: Any) -> dict[str, Any]:
    from medseg_napari.display import commands

    commands.show_plane(viewer, "axial")
    settle()
    labels.brush_size, found = 20, {}
    middle = [size // 2 for size in labels.data.shape]
    for name, dimensions in (("paint_2d", 2), ("paint_3d", 3)):
        labels.n_edit_dimensions = dimensions
        places = [(middle[0], middle[1], middle[2] + 8 * n) for n in range(STROKES)]
        found[name] = spread(drawn(lambda p=place: labels.paint(p, 5)) for place in places)
        found[f"undo_{name}"] = spread(drawn(labels.undo) for _ in range(STROKES))
    return found


def inference(repeat: int) -> dict[str, Any]:
    """Steps while the shipped model runs, and how soon a cancel is obeyed."""
    import napari

    from medseg.inference import Predictor
    from medseg.model_package import find_package
    from medseg.volume import Grid, Scan
    from medseg_napari.inference.devices import leave_a_core_free
    from medseg_napari.layers import layer_from_scan

    leave_a_core_free()
    voxels = np.random.default_rng(0).normal(100, 30, (1, *LARGE_MR)).astype(np.float32)
    scan = Scan(voxels, Grid(LARGE_MR, np.diag([-1.0, -1.0, 1.0, 1.0])), "MR")
    predictor = Predictor.load(find_package(MODEL), device="cpu")
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(1240, 800)
    data, attributes, _ = layer_from_scan(scan, "large MR")
    viewer.add_image(data, **attributes)
    found: dict[str, Any] = {"alone": spread(steps(viewer, "axial"))}
    work = functools.partial(predictor.predict, scan)
    cancels = []
    for number in range(repeat):
        with_model, latency, tiles = while_running(viewer, lambda progress: work(progress=progress))
        cancels.append(latency)
        if number == 0:
            found |= {"running": spread(with_model), "tiles": tiles}
    found["cancel"] = spread(cancels)
    viewer.close()
    return found


def while_running(viewer: Any, work: Callable[[Any], Any]) -> tuple[list[float], float, int]:
    """Seconds of each step during a job, seconds until its cancel is obeyed, and its tiles."""
    from medseg_napari.jobs import Progress, Stopped
    from medseg_napari.workers import JobRunner

    events: list[Any] = []
    runner = JobRunner()
    runner.event.connect(events.append)
    runner.start(work)

    def tiles() -> list[Progress]:
        return [one for one in events if isinstance(one, Progress) and one.total > 1]

    wait_for(lambda: len(tiles()) > 1, 120)
    times = list(steps(viewer, "axial"))
    assert all(isinstance(one, Progress) for one in events), "the job ended too soon"
    began = time.perf_counter()
    runner.stop()
    wait_for(lambda: any(isinstance(one, Stopped) for one in events), 60)
    return times, time.perf_counter() - began, tiles()[-1].total


def drawn(action: Callable[[], Any]) -> float:
    """Seconds from before `action` until everything it asks for is on the canvas."""
    began = time.perf_counter()
    action()
    settle()
    return time.perf_counter() - began


def settle() -> None:
    """Let Qt do what is waiting, drawing last."""
    from qtpy.QtWidgets import QApplication

    for _ in range(3):
        QApplication.sendPostedEvents()
        QApplication.processEvents()


def spread(seconds: Any) -> dict[str, float]:
    made = list(seconds)
    return {"mean": statistics.mean(made), "median": statistics.median(made), "worst": max(made)}


def table(found: dict[str, Any], options: argparse.Namespace) -> str:
    """The measured times as Markdown."""
    size = f"{options.slices} x {options.rows} x {options.rows}"
    shape = " x ".join(map(str, LARGE_MR))
    view, run, start_ = found["viewing"], found["inference"], found["startup"]
    about = (
        "{cores} cores shared with other work (load {load} at the start), no GPU, drawing by"
        " software on a virtual display; napari {napari}, torch {torch}, Python {python}."
    ).format(**found["machine"])
    rows = [
        (f"open {size} CT (int16, plain NIfTI) until drawn", view["open_scan"]),
        ("open its labels (uint8) until drawn", view["open_labels"]),
        ("slice step, axial", view["step_axial"]),
        ("slice step, coronal", view["step_coronal"]),
        ("slice step, sagittal", view["step_sagittal"]),
        ("paint a disc 20 voxels wide", view["paint_2d"]),
        ("undo it", view["undo_paint_2d"]),
        ("paint a ball 20 voxels wide", view["paint_3d"]),
        ("undo it", view["undo_paint_3d"]),
        (f"slice step, MR of {shape}, nothing else running", run["alone"]),
        (f"the same while {MODEL} segments it ({run['tiles']} tiles)", run["running"]),
        ("cancel, from the click to nothing running", run["cancel"]),
    ]
    lines = [
        "# Waiting in napari",
        "",
        f"`python benchmarks/napari_speed.py --repeat {options.repeat}`: {about}",
        "",
        "| what | mean, s | worst, s |",
        "|---|---|---|",
        *(f"| {words} | {one['mean']:.3f} | {one['worst']:.3f} |" for words, one in rows),
        "",
        f"| start-up, median of {options.repeat} fresh processes | wall, s | processor, s |",
        "|---|---|---|",
        *(_startup_row(kind, start_) for kind in ("without", "with")),
        "| the plugin adds | {:.2f} | {:.2f} |".format(*_added(start_)),
        f"| of which reading its manifest | | {start_['manifest']:.3f} |",
        "",
        "| first opening of a panel, fresh process | s |",
        "|---|---|",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in start_["panels"].items()),
    ]
    return "\n".join(lines) + "\n"


def _startup_row(kind: str, times: dict[str, Any]) -> str:
    return (
        f"| napari {kind} the plugin | {times[f'{kind}_wall']:.2f} | {times[f'{kind}_cpu']:.2f} |"
    )


def _added(times: dict[str, Any]) -> list[float]:
    return [times[f"with_{clock}"] - times[f"without_{clock}"] for clock in ("wall", "cpu")]


if __name__ == "__main__":
    main()
