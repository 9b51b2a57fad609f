"""Memory and time of the napari plugin when the same is done again and again.

    python benchmarks/viewer.py [--presses N] [--scans N] [--runs N] [--slices N] [--rows N]

Opens the viewer on a virtual display (Xvfb) with a made-up CT and 60 organs, and does three things:
presses a tool of the Labels tab that changes nothing, opens and closes a scan, and runs a job that
labels by a threshold. Told are the memory of the process in MB before, after the first tenth and
after all, the slope between the last two for each time, and the longest time in seconds that the
window did not answer.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from screenshots import open_viewer, own_autosave, virtual_display, wait_for

ORGANS = 60
_LOOK_MS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in (("presses", 200), ("scans", 50), ("runs", 20)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rows", type=int, default=512)
    options = parser.parse_args()
    scan, organs = made_up(options.slices, options.rows)
    with own_autosave(), virtual_display():
        viewer, panel = open_viewer("Labels")
        columns = ("MB before", "early", "after", "MB each", "longest wait, s")
        print(f"{scan.shape}, {ORGANS} organs".ljust(31), *(f"{name:>16}" for name in columns))
        show("scans opened and closed", options.scans, lambda: open_and_close(viewer, scan))
        add(viewer, scan, organs)
        show("presses of Largest piece", options.presses, lambda: press(panel, "Largest piece"))
        show("runs by threshold", options.runs, lambda: run(viewer))
        viewer.close()


def made_up(slices: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A CT of noise, and cubes as organs, on the same voxels."""
    scan = np.random.default_rng(0).integers(-1000, 1000, (slices, rows, rows), np.int16)
    organs = np.zeros(scan.shape, np.uint8)
    side = rows // 16
    for value in range(1, ORGANS + 1):
        row, column = divmod(value - 1, 8)
        across, down = int((row * 2 + 0.5) * side), int((column * 2 + 0.5) * side)
        box = slice(slices // 4, slices * 3 // 4), slice(across, across + side)
        organs[(*box, slice(down, down + side))] = value
    return scan, organs


def add(viewer: Any, scan: np.ndarray, organs: np.ndarray) -> None:
    from napari.layers import Layer

    from medseg.volume import Grid, LabelMap, LabelTable, Scan
    from medseg_napari.layers import layer_from_labels, layer_from_scan

    grid = Grid(scan.shape, np.diag([1.0, 1.0, 1.0, 1.0]))
    table = LabelTable.of({value: f"organ {value}" for value in range(1, ORGANS + 1)})
    viewer.add_layer(Layer.create(*layer_from_scan(Scan(scan[None], grid, "CT"), "made up")))
    labels = layer_from_labels(LabelMap(organs, grid, table), "organs")
    viewer.add_layer(Layer.create(*labels)).selected_label = 1


def open_and_close(viewer: Any, scan: np.ndarray) -> None:
    add(viewer, scan, np.zeros(scan.shape, np.uint8))
    wait_for(lambda: False, seconds=0.05)
    viewer.layers.clear()


def press(panel: Any, words: str) -> None:
    panel.form.buttons[words].click()
    wait_for(lambda: not panel.job.busy)


def run(viewer: Any) -> None:
    """A run of the Segment tab, its result accepted and closed."""
    from medseg_napari.editing.label_tables import new_layer
    from medseg_napari.panels.dock import open_tab

    panel = open_tab(viewer, "Segment")
    scan = panel.form.scans.layer()
    done: list[Any] = []
    panel.job.start(lambda _progress: np.asarray(scan.data) > 0, done.append)
    wait_for(lambda: bool(done))
    result = viewer.add_layer(new_layer(scan))
    result.data[:] = done[0]
    viewer.layers.remove(result)


def show(what: str, times: int, action: Callable[[], None]) -> None:
    """Do it, and print what it cost."""
    waits, before = [0.0], megabytes()
    timer = ticking(waits)
    early = before
    for number in range(times):
        action()
        if number + 1 == max(1, times // 10):
            early = megabytes()
    timer.stop()
    after = megabytes()
    each = (after - early) / max(1, times - max(1, times // 10))
    numbers = (before, early, after, each, max(waits))
    print(f"{times:4d} {what:26}", *(f"{number:16.2f}" for number in numbers), flush=True)


def ticking(waits: list[float]) -> Any:
    """A timer of Qt that takes down how late it comes."""
    from qtpy.QtCore import QTimer

    last = [time.perf_counter()]

    def look() -> None:
        now = time.perf_counter()
        waits.append(now - last[0] - _LOOK_MS / 1000)
        last[0] = now

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(_LOOK_MS)
    return timer


def megabytes() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


if __name__ == "__main__":
    main()
