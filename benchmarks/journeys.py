"""Three journeys walked call by call: how many functions and files of ours each enters.

``python benchmarks/journeys.py`` segments a DICOM series into a DICOM SEG at the command line,
trains a small network at the command line, and runs a model on an Image layer as the Segment panel
does; a phantom is the patient. What is entered is counted once, in every thread of the process.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGES = ("medseg", "medseg_pipelines", "medseg_napari")
MODEL = "hippocampus-mr"


def walked(journey: Callable[[], object]) -> tuple[set[tuple[str, int]], set[str]]:
    """Functions (file and first line) and files of our packages that a call enters."""
    functions: set[tuple[str, int]] = set()

    def entered(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and not code.co_name.startswith("<"):
            functions.add((code.co_filename, code.co_firstlineno))

    threading.setprofile(entered)
    sys.setprofile(entered)
    try:
        journey()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    ours = {item for item in functions if set(PACKAGES) & set(Path(item[0]).parts)}
    return ours, {file for file, _ in ours}


def command(*words: object) -> Callable[[], object]:
    """A call of the command line in this process."""
    from click.testing import CliRunner

    from medseg_pipelines.cli import medseg

    def call() -> None:
        outcome = CliRunner().invoke(medseg, [str(word) for word in words], catch_exceptions=False)
        if outcome.exit_code:
            raise SystemExit(outcome.output)

    return call


def layer_run(folder: Path) -> Callable[[], object]:
    """What the Segment panel does with the layer of a series."""
    from medseg.model_package import find_package
    from medseg.reading import read_scan
    from medseg_napari.inference.run import Request, Runner
    from medseg_napari.layers import layer_from_scan

    data, attributes, _ = layer_from_scan(read_scan(folder), "scan")

    def call() -> None:
        request = Request(data, attributes, find_package(MODEL), "cpu")
        for _ in Runner().run(request, lambda *_: None):
            pass

    return call


def dataset(folder: Path) -> Path:
    """Four phantoms with labels, as ``images/`` and ``labels/``."""
    from medseg.phantoms import abdominal_ct
    from medseg.phantoms.dicom_archive import ct_grid
    from medseg.writing import write_labels, write_scan

    grid = ct_grid(shape=(20, 18, 16), spacing_mm=(16.0, 16.0, 20.0))
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(4):
        scan, labels = abdominal_ct(number, grid)
        write_scan(scan, folder / "images" / f"case{number}.nii.gz")
        write_labels(labels, folder / "labels" / f"case{number}.nii.gz")
    return folder


def series(folder: Path) -> Path:
    """A phantom as a DICOM series."""
    from medseg.phantoms import abdominal_ct
    from medseg.phantoms.dicom_archive import ct_grid, write_series

    grid = ct_grid(shape=(24, 24, 12), spacing_mm=(2.0, 2.0, 3.0))
    write_series(abdominal_ct(1, grid)[0], folder, patient=1)
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dicom, cases = series(folder / "dicom"), dataset(folder / "cases")
        segment = command("segment", dicom, "--model", MODEL, "--output", folder / "seg.dcm")
        train = command(
            *("train", cases, "--output", folder / "run", "--steps", 4, "--modality", "CT"),
            *("--device", "cpu"),
        )
        journeys = {
            "train (command line)": train,
            "segment (command line)": segment,
            "segment (napari)": layer_run(dicom),
        }
        for name, journey in journeys.items():
            functions, files = walked(journey)
            print(f"{name:26} {len(functions):4} functions in {len(files):3} files")


if __name__ == "__main__":
    main()
