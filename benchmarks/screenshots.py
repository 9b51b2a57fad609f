"""Pictures of the napari plugin: `docs/images/napari*.png`, one of a real run, and every tab.

    python benchmarks/screenshots.py [--data FOLDER_OF_HIPPOCAMPUS_DATA] [--demo FOLDER] [--tabs]

With `--tabs` only each tab of the dock, at two sizes of screen, in two themes, to be looked at one
by one in `screenshots/tabs`.

Opens the viewer on a virtual display (Xvfb), so it works without a screen. The pictures in `docs/`
show phantoms: those of the tutorial go through it, from the DICOM folder of a phantom that `medseg
demo` made (it is run first, a few minutes, where there is none) to a DICOM SEG. With the real data
and the shipped model a picture of that run goes to `screenshots/`, which is not kept, since the
data are not ours to hand on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "hippocampus"
PICTURE = ROOT / "docs" / "images" / "napari.png"
TUTORIAL = {
    name: ROOT / "docs" / "images" / f"napari-{name}.png"
    for name in ("study", "segment", "labels", "export")
}
RESULT = ROOT / "screenshots" / "hippocampus-mr.png"
WINDOW = (1280, 900)
PANEL_WIDTH = 400
SCREENS = ((1366, 768), (1920, 1080))
THEMES = ("dark", "light")
TABS = ROOT / "screenshots" / "tabs"
BODY_FILL = 1.15  # the phantom's body leaves a quarter of its grid empty
MODEL = "hippocampus-mr"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--demo", type=Path, default=ROOT / "demo")
    parser.add_argument("--tabs", action="store_true")
    options = parser.parse_args()
    with own_autosave(), virtual_display():
        if options.tabs:
            pictures_of_the_tabs()
            return
        picture_of_the_phantom()
        pictures_of_the_tutorial(demo(options.demo))
        scan = options.data / "images" / "hippocampus_001.nii.gz"
        if scan.is_file() and _shipped():
            picture_of_a_run(scan)
        else:
            print(f"no picture of a run: it needs {scan.name} and the model {MODEL}")


def picture_of_the_phantom() -> None:
    viewer, panel = open_viewer()
    scan, labels = viewer.open_sample("medseg", "abdomen")
    wait_for(lambda: "best there is" not in panel.form.device.currentText())
    panel.header.planes["axial"].click()
    viewer.dims.set_current_step(0, richest_slice(labels.data))
    viewer.scene.camera.zoom *= BODY_FILL
    labels.selected_label = 1
    save(viewer, PICTURE)
    print(f"{scan.name}: window {scan.contrast_limits}, {len(labels.features) - 1} organs")


def picture_of_a_run(scan: Path) -> None:
    viewer, panel = open_viewer()
    viewer.open(str(scan), plugin="medseg")
    panel.add_model(MODEL)
    panel.form.run.click()
    wait_for(lambda: len(viewer.layers) == 2)
    panel.header.planes["sagittal"].click()
    viewer.dims.set_current_step(2, richest_slice(np.moveaxis(viewer.layers[1].data, 2, 0)))
    save(viewer, RESULT)


def pictures_of_the_tabs() -> None:
    """Each tab of the dock over the phantom."""
    from napari.settings import get_settings

    from medseg_napari.panels.dock import TABS as NAMES

    for theme in THEMES:
        get_settings().appearance.theme = theme
        for width, height in SCREENS:
            viewer, panel = open_viewer("Study", (width, height))
            _, labels = viewer.open_sample("medseg", "abdomen")
            panel.header.planes["axial"].click()
            viewer.dims.set_current_step(0, richest_slice(labels.data))
            for name in NAMES:
                dock(viewer, name)
                picture = TABS / f"{name.lower()}-{width}x{height}-{theme}.png"
                save(viewer, picture, close=False)
            viewer.close()
    get_settings().appearance.theme = THEMES[0]


def demo(folder: Path) -> Path:
    """The folder of a demo with a model."""
    if not (folder / "run" / "model" / "manifest.json").is_file():
        program = Path(sys.executable).with_name("medseg")
        subprocess.run([program, "demo", "--output", folder, "--no-view"], check=True)
    return folder


def pictures_of_the_tutorial(folder: Path) -> None:
    """The steps of `docs/tutorials/napari.md`, one picture each."""
    viewer, study = open_viewer("Study")
    study.open_study(folder / "archive" / "held-out")
    wait_for(lambda: study.form.table.rowCount() > 0 and not study.form.job.busy)
    study.form.table.selectRow(0)
    study.open_series()
    wait_for(lambda: len(viewer.layers) == 1)
    study.header.planes["axial"].click()
    save(viewer, TUTORIAL["study"], close=False)
    segment = dock(viewer, "Segment")
    segment.add_model(folder / "run" / "model")
    segment.form.run.click()
    wait_for(lambda: len(viewer.layers) == 2 and segment.form.run.isEnabled())
    labels = viewer.layers[1]
    viewer.dims.set_current_step(0, richest_slice(labels.data))
    wait_for(lambda: False, seconds=5)  # for the estimate of the next run
    save(viewer, TUTORIAL["segment"], close=False)
    segment.form.accept.click()
    dock(viewer, "Labels")
    save(viewer, TUTORIAL["labels"], close=False)
    export = dock(viewer, "Export")
    picture_of_an_export(viewer, export)


def picture_of_an_export(viewer: Any, panel: Any) -> None:
    """What the Export panel says it will write, and that it did."""
    with tempfile.TemporaryDirectory(prefix="results-") as folder:
        for name in ("rtstruct", "html"):
            panel.form.formats[name].setChecked(True)
        panel.form.folder.setText(folder)
        wait_for(lambda: panel.plan is not None)
        panel.form.export.click()
        wait_for(lambda: not panel.job.busy)
        print(panel.job.message.text(), sorted(path.name for path in Path(folder).iterdir()))
        panel.form.replace.setChecked(True)
        wait_for(lambda: panel.plan is not None)
        panel.form.folder.setText(folder)
        save(viewer, TUTORIAL["export"])


def open_viewer(name: str = "Segment", size: tuple[int, int] = WINDOW) -> tuple[Any, Any]:
    """A viewer with the dock on one tab."""
    import napari

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*size)
    return viewer, dock(viewer, name)


def dock(viewer: Any, name: str) -> Any:
    """Show a tab of the dock; its panel."""
    from medseg_napari.panels.dock import DOCK, open_tab

    panel = open_tab(viewer, name)
    viewer.window.dock_widgets[f"{DOCK} (medseg)"].setMaximumWidth(PANEL_WIDTH)
    return panel


def richest_slice(values: np.ndarray) -> int:
    """The slice that shows the most of all structures, each counting the same."""
    kinds = [value for value in np.unique(values) if value]
    areas = np.array([(values == kind).sum(axis=(1, 2)) for kind in kinds])
    return int(np.argmax(np.minimum(areas / areas.max(axis=1, keepdims=True), 0.7).sum(axis=0)))


def save(viewer: Any, path: Path, *, close: bool = True) -> None:
    """Save the window as a small PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.status, viewer.help = "Ready", ""
    wait_for(lambda: False, seconds=1.5)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    Image.fromarray(np.ascontiguousarray(pixels)).quantize(256, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    if close:
        viewer.close()
    print(f"{path.relative_to(ROOT)}: {pixels.shape[1]} x {pixels.shape[0]} pixels,", end=" ")
    print(f"{path.stat().st_size / 1000:.0f} kB")


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let Qt work until `condition` holds, or for some seconds."""
    from qtpy.QtWidgets import QApplication

    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


@contextmanager
def own_autosave() -> Iterator[None]:
    """Keep labels in a folder that goes, and offer nobody's of an earlier session."""
    with tempfile.TemporaryDirectory(prefix="autosave-") as folder:
        os.environ["MEDSEG_AUTOSAVE_DIR"] = folder
        yield


@contextmanager
def virtual_display() -> Iterator[None]:
    """A display of its own, so that the pictures do not depend on the person's screen."""
    if shutil.which("Xvfb") is None:
        yield
        return
    reading, writing = os.pipe()
    options = ["-displayfd", str(writing), "-screen", "0", "1920x1080x24", "-nolisten", "tcp"]
    server = subprocess.Popen(["Xvfb", *options], pass_fds=[writing], stderr=subprocess.DEVNULL)
    try:
        with os.fdopen(reading) as display:
            os.environ["DISPLAY"] = f":{display.readline().strip()}"
        os.environ.pop("QT_QPA_PLATFORM", None)
        yield
    finally:
        os.close(writing)
        server.terminate()
        server.wait()


def _shipped() -> bool:
    from medseg.model_package import shipped_packages

    return any(package.manifest.name == MODEL for package in shipped_packages())


if __name__ == "__main__":
    main()
