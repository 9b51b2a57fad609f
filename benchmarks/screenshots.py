"""Pictures of the napari plugin: `docs/images/napari.png`, and one of a real run.

    python benchmarks/screenshots.py [FOLDER_OF_HIPPOCAMPUS_DATA]

Opens the viewer on a virtual display (Xvfb), so it works without a screen. The picture in `docs/`
shows the phantom; with the real data and the shipped model a picture of that run goes to
`screenshots/`, which is not kept, since the data are not ours to hand on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "hippocampus"
PICTURE = ROOT / "docs" / "images" / "napari.png"
RESULT = ROOT / "screenshots" / "hippocampus-mr.png"
WINDOW = (1240, 800)
PANEL_WIDTH = 330
BODY_FILL = 1.15  # the phantom's body leaves a quarter of its grid empty
MODEL = "hippocampus-mr"


def main(data: Path = DATA) -> None:
    with virtual_display():
        picture_of_the_phantom()
        scan = data / "images" / "hippocampus_001.nii.gz"
        if scan.is_file() and _shipped():
            picture_of_a_run(scan)
        else:
            print(f"no picture of a run: it needs {scan.name} and the model {MODEL}")


def picture_of_the_phantom() -> None:
    viewer, panel = open_viewer()
    scan, labels = viewer.open_sample("medseg", "abdomen")
    wait_for(lambda: "best there is" not in panel.form.device.currentText())
    panel.form.planes["axial"].click()
    viewer.dims.set_current_step(0, richest_slice(labels.data))
    viewer.scene.camera.zoom *= BODY_FILL
    labels.selected_label = 1
    save(viewer, PICTURE)
    print(f"{scan.name}: window {scan.contrast_limits}, {len(labels.features) - 1} organs")


def picture_of_a_run(scan: Path) -> None:
    viewer, panel = open_viewer()
    viewer.open(str(scan), plugin="medseg")
    panel.form.model.setCurrentIndex(panel.form.model.findText(MODEL))
    panel.form.run.click()
    wait_for(lambda: len(viewer.layers) == 2)
    panel.form.planes["sagittal"].click()
    viewer.dims.set_current_step(2, richest_slice(np.moveaxis(viewer.layers[1].data, 2, 0)))
    save(viewer, RESULT)


def open_viewer() -> tuple[Any, Any]:
    """A viewer with the Segment panel docked."""
    import napari

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*WINDOW)
    _, panel = viewer.window.add_plugin_dock_widget("medseg", "Segment")
    panel.setMaximumWidth(PANEL_WIDTH)
    return viewer, panel


def richest_slice(values: np.ndarray) -> int:
    """The slice on which the structure that is cut worst is cut best."""
    kinds = [value for value in np.unique(values) if value]
    areas = np.array([(values == kind).sum(axis=(1, 2)) for kind in kinds])
    return int(np.argmax((areas / areas.max(axis=1, keepdims=True)).min(axis=0)))


def save(viewer: Any, path: Path) -> None:
    """Save the window as a small PNG and close it."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.status = "Ready"
    wait_for(lambda: False, seconds=1.5)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    Image.fromarray(np.ascontiguousarray(pixels)).quantize(256, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
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
def virtual_display() -> Iterator[None]:
    """A display of its own, so that the pictures do not depend on the person's screen."""
    if shutil.which("Xvfb") is None:
        yield
        return
    reading, writing = os.pipe()
    options = ["-displayfd", str(writing), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
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
    from medseg.modelpack import shipped_packages

    return any(package.manifest.name == MODEL for package in shipped_packages())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
