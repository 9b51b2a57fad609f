"""One scan in, one label map out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from medseg.discovery.channel_files import find_channels
from medseg.errors import Cancelled
from medseg.metrics import volumes_ml
from medseg.model_package import find_package
from medseg.planning import Component
from medseg.reading import Policies
from medseg.reading.file_names import without_suffix
from medseg.runtime.free_memory import free_memory_bytes
from medseg.volume import LabelMap, Scan
from medseg.volume.label_map import voxel_counts
from medseg.workflows.outputs import check_file, check_label_file
from medseg.workflows.record import ModelUsed
from medseg.workflows.segment import Result, read_case, segment_case, write_case
from medseg.writing import write_scan
from medseg_pipelines.console import Console, describe, duration

if TYPE_CHECKING:
    from medseg.inference import Options, Predictor

PROBABILITIES = ".probabilities.nii.gz"
UNCERTAINTY = ".uncertainty.nii.gz"
"""How the files of the probabilities and of the uncertainty end, beside the label map."""
_MANY_TILES = 8
"""Where measuring a part of one first hardly counts."""


def segment_scan(
    given: Sequence[Path],
    *,
    model: str | Path,
    output: Path,
    series: Sequence[str] = (),
    encoding: str | None = None,
    policies: Policies | None = None,
    device: str = "auto",
    postprocessing: tuple[Component, ...] | None = None,
    tta: bool = False,
    backend: str = "torch",
    probabilities: bool = False,
    uncertainty: bool = False,
    roi_from: str | None = None,
    roi_margin_mm: float | None = None,
    console: Console,
) -> Path:
    """Read a scan, label every voxel, write the label map on the scan's own grid.

    `given` holds the channels as `medseg.discovery.channel_files.find_channels` takes them, and
    options are those of `medseg.workflows.segment.SegmentOptions`; what a person should know is
    printed on the console.

    Raises
    ------
    MedsegError
        When the scan, model, device or output cannot be used; nothing is written then.
    Cancelled
        When the person stopped it.
    """
    start = time.monotonic()
    check_label_file(output, sources=given, encoding=encoding)
    maps = _map_files(output, probabilities=probabilities, uncertainty=uncertainty)
    for path in maps.values():
        check_file(path, sources=given)
    package = find_package(model)
    channels = package.manifest.plan.channels
    paths = find_channels(given, channels, series=series)
    with console.progress("reading") as progress:
        scan = read_case(
            paths,
            output,
            channels=channels,
            series=series,
            policies=policies or Policies(),
            progress=progress,
        )
    console.print(f"Scan:   {describe(scan)}")
    for line in channel_lines(paths, channels, series):
        console.print(line)
    from medseg.inference import (  # seconds of importing, once the scan can be read
        Options,
        Predictor,
    )
    from medseg.inference.coarse_to_fine import MARGIN_MM, looking_only

    predictor = Predictor.load(
        package, device=device, postprocessing=postprocessing, tta=tta, backend=backend
    )
    console.print(f"Model:  {package.manifest.name}, on {predictor.device.description}")
    margin_mm = MARGIN_MM if roi_margin_mm is None else roi_margin_mm
    segmenter = looking_only(predictor, roi_from, margin_mm=margin_mm, device=device)
    used = ModelUsed.of(package)
    modality_warning = used.modality_warning(scan.modality)
    if modality_warning:
        console.print(f"Warning: {modality_warning}.", style="bold")
    options = Options(probabilities=probabilities, uncertainty=uncertainty)
    _forecast(predictor, scan, options, console)
    try:
        with console.progress("segmenting") as progress:
            result = segment_case(scan, segmenter, used, options, progress=progress)
    except Cancelled as stop:
        raise Cancelled("nothing was written; run the same command again") from stop
    lines = [f"Note:   {warning}" for warning in result.warnings if warning != modality_warning]
    lines += [f"Ran on: {result.record.device}"] * (backend != "torch")
    for line in lines:
        console.print(line)
    written = write_case(result, output, encoding=encoding)
    _write_maps(result, maps, console)
    console.show(volume_table(result.labels))
    console.print(f"Wrote {written} in {duration(time.monotonic() - start)}.")
    return written


def _map_files(output: Path, *, probabilities: bool, uncertainty: bool) -> dict[str, Path]:
    """The files of the maps that are asked for, by their endings."""
    asked = {PROBABILITIES: probabilities, UNCERTAINTY: uncertainty}
    stem = without_suffix(output)
    return {ending: output.with_name(f"{stem}{ending}") for ending in asked if asked[ending]}


def _write_maps(result: Result, maps: Mapping[str, Path], console: Console) -> None:
    """Write the maps that were asked for, and say where they are."""
    if result.probabilities is not None:
        write_scan(result.probabilities, maps[PROBABILITIES])
        console.print(f"Probabilities, 0 to 255, are in {maps[PROBABILITIES]}")
    if result.uncertainty is not None:
        write_scan(result.uncertainty, maps[UNCERTAINTY])
        console.print(f"Uncertainty, 0 to 100, is in {maps[UNCERTAINTY]}")


def _forecast(predictor: Predictor, scan: Scan, options: Options, console: Console) -> None:
    """Say how long the whole scan takes, and how much memory, where there are many tiles."""
    from medseg.inference.oom_fallback import gigabytes

    if predictor.tiles(scan.grid, options) < _MANY_TILES:
        return
    with console.progress("measuring a tile"):
        expected = predictor.estimate(scan.grid, options, probe=predictor.probe())
    free = free_memory_bytes()
    console.print(
        f"Takes: about {duration(expected.seconds)} for {expected.tiles} tiles, and"
        f" {gigabytes(expected.device_bytes + expected.main_bytes)} of memory"
        + (f"; {gigabytes(free)} are free" if free else "")
    )


def channel_lines(
    paths: Sequence[Path], channels: Sequence[str], series: Sequence[str] = ()
) -> list[str]:
    """Which file, or series, was taken for which channel, where there are several."""
    if len(paths) == 1:
        return []
    selectors = series if len(series) > 1 else [""] * len(paths)
    return [
        f"        {name} is '{path.name}'{' series ' * bool(selector)}{selector}"
        for name, path, selector in zip(channels, paths, selectors, strict=True)
    ]


def volume_table(labels: LabelMap) -> Table:
    """Table of the volume of every label, in pixels where their size is not known."""
    sized = labels.provenance.has_physical_size
    table = Table(title="Volumes" if sized else "Areas")
    table.add_column("value", justify="right")
    table.add_column("label")
    table.add_column("ml" if sized else "pixels", justify="right")
    volumes, counts = volumes_ml(labels), voxel_counts(labels.values)
    for label in labels.table:
        amount = f"{volumes[label.name]:.2f}" if sized else f"{counts[label.value]}"
        table.add_row(str(label.value), label.name, amount)
    return table
