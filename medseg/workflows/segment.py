"""A scan in, a label map out: three steps, so that a batch may overlap them, and all in one.

Every interface calls these: the command line, the batch worker, the napari panel and
:func:`medseg.segment`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

import msgspec

from medseg.discovery.channel_files import channel_list, find_channels
from medseg.errors import InputError
from medseg.model_package import find_package
from medseg.reading import Policies
from medseg.reading.channels import read_channels
from medseg.reading.policies import REFUSE
from medseg.runtime.progress import Progress, silent
from medseg.volume import LabelMap, Scan
from medseg.workflows.outputs import check, check_label_file
from medseg.workflows.record import ModelUsed, Record
from medseg.writing import write_labels

if TYPE_CHECKING:
    from medseg.inference import Options, Prediction
    from medseg.planning import Component
    from medseg.runtime.device import Device


class Segmenter(Protocol):
    """What is needed of a :class:`medseg.inference.Predictor`."""

    @property
    def device(self) -> Device:
        """Where it runs."""
        ...

    def run(self, scan: Scan, options: Options, *, progress: Progress) -> Prediction:
        """Label a scan."""
        ...


@dataclass(frozen=True, eq=False)
class Result:
    """What segmenting a scan gives.

    Parameters
    ----------
    labels : LabelMap
        On the scan's grid, with its provenance.
    record : Record
        What made it.
    uncertainty, probability : Scan or None
        Maps on the same grid, in per cent, where they were asked for; see
        :class:`medseg.inference.Prediction`.
    probabilities : Scan or None
        Of every class, in 255ths, where they were asked for; likewise.
    """

    labels: LabelMap
    record: Record
    uncertainty: Scan | None = None
    probability: Scan | None = None
    probabilities: Scan | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of it: another modality, what was done without memory."""
        return self.record.warnings


class SegmentOptions(TypedDict, total=False):
    """Options of :func:`segment`.

    Parameters
    ----------
    series : str or sequence of str
        SeriesInstanceUID when a DICOM folder holds several; one for each channel of the model.
    policies : Policies
        What may be repaired in a DICOM series; nothing when not given.
    encoding : {"binary", "labelmap", "auto"}
        Of a DICOM SEG; see :func:`medseg.writing.write_labels`.
    device : str
        ``"auto"`` when not given.
    postprocessing : tuple of Component
        Steps after the network, in place of the model's own.
    tta : bool
        Whether the network takes the mean over mirror images; see
        :meth:`medseg.inference.Predictor.load`.
    backend : str
        What runs the network on a CPU; see :meth:`medseg.inference.Predictor.load`.
    probabilities, uncertainty : bool
        Whether the result has the probability of every class, and that a label is wrong.
    roi_from : str or Path
        Where to look: a mask, another model or ``"coarse"``; see
        :func:`medseg.inference.coarse_to_fine.looking_only`. Everywhere when not given.
    roi_margin_mm : float
        Looked at around it; 20 when not given.
    progress : Progress
        Called in every step; raising `medseg.errors.Cancelled` in it stops.
    """

    series: str | Sequence[str]
    policies: Policies
    encoding: str
    device: str
    postprocessing: tuple[Component, ...]
    tta: bool
    backend: str
    probabilities: bool
    uncertainty: bool
    roi_from: str | Path | None
    roi_margin_mm: float
    progress: Progress


def segment(
    path: str | Path | Sequence[str | Path],
    model: str | Path,
    output: str | Path,
    **options: Unpack[SegmentOptions],
) -> Result:
    """Label every voxel of a scan and write the label map on the scan's own grid.

    Parameters
    ----------
    path : str or Path or sequence of them
        A file, or the folder of a DICOM series; for a model of several channels a file of each, or
        their folder: see :func:`medseg.discovery.channel_files.find_channels`.
    model : str or Path
        Name of a shipped model, or its folder.
    output : str or Path
        Its suffix chooses the format.
    **options
        See :class:`SegmentOptions`.

    Returns
    -------
    Result
        What was written, with warnings and the record of what made it.

    Raises
    ------
    MedsegError
        When the scan, model, device or output cannot be used; nothing is written then.

    Examples
    --------
    >>> medseg.segment("scan.nii.gz", "hippocampus-mr", "labels.nii.gz")  # doctest: +SKIP
    """
    from medseg.inference import Options, Predictor
    from medseg.inference.coarse_to_fine import MARGIN_MM, looking_only

    given = [Path(path)] if isinstance(path, str | Path) else [Path(file) for file in path]
    output = Path(output)
    progress, encoding = options.get("progress", silent), options.get("encoding")
    check_label_file(output, sources=given, encoding=encoding)
    package = find_package(model)
    clock = time.monotonic()
    series, channels = options.get("series") or (), package.manifest.plan.channels
    series = (series,) if isinstance(series, str) else series
    scan = read_case(
        find_channels(given, channels, series=series),
        output,
        channels=channels,
        series=series,
        policies=options.get("policies", REFUSE),
        progress=progress,
    )
    read_s = time.monotonic() - clock
    predictor = Predictor.load(
        package,
        device=options.get("device", "auto"),
        postprocessing=options.get("postprocessing"),
        tta=options.get("tta", False),
        backend=options.get("backend", "torch"),
    )
    device, margin_mm = options.get("device", "auto"), options.get("roi_margin_mm", MARGIN_MM)
    segmenter = looking_only(predictor, options.get("roi_from"), margin_mm=margin_mm, device=device)
    names = ("postprocessing", "tta", "backend", "roi_from", "roi_margin_mm")
    used = {name: value for name, value in options.items() if name in names and value is not None}
    result = segment_case(
        scan,
        segmenter,
        ModelUsed.of(package),
        Options(
            probabilities=options.get("probabilities", False),
            uncertainty=options.get("uncertainty", False),
        ),
        settings=msgspec.to_builtins(used, enc_hook=str),
        progress=progress,
    )
    clock = time.monotonic()
    write_case(result, output, encoding=encoding)
    seconds = {"read": read_s, **result.record.seconds, "write": time.monotonic() - clock}
    return replace(result, record=msgspec.structs.replace(result.record, seconds=seconds))


def read_case(
    paths: Sequence[Path],
    output: Path,
    *,
    channels: Sequence[str],
    series: Sequence[str] = (),
    policies: Policies = REFUSE,
    progress: Progress = silent,
) -> Scan:
    """Read a scan, and make sure that it can be segmented and its labels be written.

    Parameters
    ----------
    paths : sequence of Path
        As :func:`medseg.discovery.channel_files.find_channels` gives them.
    output : Path
        Where the labels are to go.
    channels : sequence of str
        Names of those that the model takes.
    series : sequence of str, optional
        SeriesInstanceUID when the folder holds several; one for each channel.
    policies : Policies, optional
        What may be repaired in a DICOM series.
    progress : Progress, optional

    Raises
    ------
    MedsegError
        When it cannot be read, has other channels or holds NaN, or its labels cannot be written in
        this format.
    """
    selector = series if len(series) > 1 else next(iter(series), None)
    scan = read_channels(paths, series=selector, policies=policies, progress=progress)
    _check_channels(scan, paths, channels)
    scan.check_finite()
    reason = check(scan, output)
    if reason:
        raise reason
    return replace(scan, channel_names=tuple(channels))


def _check_channels(scan: Scan, paths: Sequence[Path], channels: Sequence[str]) -> None:
    """Raise `InputError` unless what was read has as many channels as the model takes."""
    if scan.channels == len(channels):
        return
    names = " and ".join(f"'{path.name}'" for path in paths)
    way = "; give one image of one channel"
    if len(channels) > 1:
        way = "; give a file for each, in this order, the folder of them, or one 4-D file"
    raise InputError(
        f"{names}: {scan.channels} channel(s) were read and the model takes"
        f" {channel_list(channels)}{way}",
        code="CHANNELS",
    )


def segment_case(
    scan: Scan,
    predictor: Segmenter,
    model: ModelUsed,
    options: Options | None = None,
    *,
    settings: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Result:
    """Label every voxel of a scan.

    Parameters
    ----------
    scan : Scan
    predictor : Segmenter
        The loaded model.
    model : ModelUsed
        What the predictor was made of.
    options : Options, optional
        The model's own way when not given.
    settings : dict, optional
        What was chosen, as plain data, for the record.
    progress : Progress, optional

    Raises
    ------
    MedsegError
        When the scan does not fit the model.
    """
    from medseg.inference.options import DEFAULT_OPTIONS

    start = time.monotonic()
    prediction = predictor.run(scan, options or DEFAULT_OPTIONS, progress=progress)
    notes = prediction.labels.provenance.notes[len(scan.provenance.notes) :]
    warnings = (*notes, model.modality_warning(scan.modality))
    record = Record.now(
        model,
        ", ".join(filter(None, (predictor.device.description, prediction.backend))),
        settings=settings,
        seconds={"segment": time.monotonic() - start},
        warnings=tuple(warning for warning in warnings if warning),
    )
    return Result(
        prediction.labels,
        record,
        prediction.uncertainty,
        prediction.probability,
        prediction.probabilities,
    )


def write_case(result: Result, output: Path, *, encoding: str | None = None) -> Path:
    """Write the labels; folders above the file are made.

    Raises
    ------
    WriteError
        When they cannot be written; nothing half-written is left behind.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    return write_labels(result.labels, output, encoding=encoding)
