"""A label map or a scan in one format in, in another out, every voxel at its place."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medseg.errors import InputError, MedsegError
from medseg.reading import SegmentSelection, read_labels, read_scan
from medseg.reading.dicom import rtstruct, seg
from medseg.runtime.progress import Progress
from medseg.volume import LabelMap, Scan
from medseg.workflows.outputs import check, check_file, unknown_suffix
from medseg.writing import (
    label_suffixes,
    obstacle,
    scan_suffixes,
    write_bytes,
    write_labels,
    write_scan,
)
from medseg_pipelines.console import Console, describe

Kind = Literal["auto", "labels", "scan"]

_PICTURE = ".png"


def convert_file(
    path: Path,
    output: Path,
    *,
    like: Path | None = None,
    series: str | None = None,
    kind: Kind = "auto",
    encoding: str | None = None,
    choice: SegmentSelection | None = None,
    console: Console,
) -> Path:
    """Convert a label map to any format that label maps have, or a scan to NIfTI, NRRD or MHA.

    Parameters
    ----------
    path : Path
        File, or folder of a DICOM series.
    output : Path
        Its suffix chooses the format; ``.png`` with `like` is a picture of the labels over it.
    like : Path, optional
        The scan that was labelled. The label map is put on its grid, voxel by voxel, and DICOM
        results refer to it.
    series : str, optional
        Which series of a DICOM folder, `like` or `path`.
    kind : {"auto", "labels", "scan"}, default "auto"
        What `path` is. "auto" goes by the formats, and where both are possible it is a label map
        when the file names its labels.
    encoding : str, optional
    choice : SegmentSelection, optional
        Labels to take, and what becomes of overlaps; all, which must not overlap, when not given.
    console : Console
        Told what was read, what was unusual, and what was written.

    Raises
    ------
    MedsegError
        When something given cannot be used; nothing is written then.
    """
    _check_output(path, output)
    with console.progress("reading") as progress:
        labelled = None
        if like is not None and kind != "scan":
            labelled = read_scan(like, series=series, progress=progress)
        labels = _labels(path, output, labelled, choice or SegmentSelection(), kind, progress)
        content = read_scan(path, series=series, progress=progress) if labels is None else labels
    if isinstance(content, Scan):
        console.print(f"Scan:   {describe(content)}")
    else:
        console.print(f"Labels: {', '.join(content.table.names) or 'none'}")
    for note in content.provenance.notes:
        console.print(f"Note:   {note}")
    output.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Scan):
        written = write_scan(content, output)
    else:
        written = _write(content, output, labelled, encoding)
    console.print(f"Wrote {written}.")
    return written


def _check_output(path: Path, output: Path) -> None:
    """Raise unless `output` has a known suffix, can be written, and is not `path`."""
    suffixes = sorted({*label_suffixes(), *scan_suffixes(), _PICTURE})
    unknown = unknown_suffix(output, tuple(suffixes))
    if unknown:
        raise unknown
    check_file(output, sources=(path,))


def _labels(
    path: Path,
    output: Path,
    labelled: Scan | None,
    choice: SegmentSelection,
    kind: Kind,
    progress: Progress,
) -> LabelMap | None:
    """The label map in `path`; None when it is a scan."""
    if kind == "scan":
        return None
    sure = labelled is not None or bool(choice.segments) or _surely_labels(path, output)
    if kind == "auto" and not sure:
        return _named_labels(path)
    return read_labels(
        path,
        like=labelled,
        segments=choice.segments,
        overlaps=choice.overlaps,
        progress=progress,
    )


def _surely_labels(path: Path, output: Path) -> bool:
    """Whether a format says that `path` is a label map."""
    if not output.name.lower().endswith(scan_suffixes()):
        return True
    if any(name.lower().endswith(".seg.nrrd") for name in (path.name, output.name)):
        return True
    return path.exists() and (seg.recognises(path) or rtstruct.recognises(path))


def _named_labels(path: Path) -> LabelMap | None:
    """The label map in a file of images, if the file names its labels."""
    try:
        labels = read_labels(path)
    except MedsegError:
        return None  # reading it as a scan tells what is wrong, if anything is
    named = any(label.name != f"label {label.value}" for label in labels.table)
    return labels if named else None


def _write(labels: LabelMap, output: Path, labelled: Scan | None, encoding: str | None) -> Path:
    ending = output.name.lower()
    if ending.endswith(_PICTURE) and (labelled is not None or obstacle(labels, output)):
        return _draw(labels, output, labelled)
    reason = check(labels, output, encoding=encoding)
    if reason and reason.code == "NO_DICOM_SOURCE" and labelled is None:
        raise InputError(
            f"a DICOM result ('{output.name}') must refer to the series that was labelled; give it"
            " with --like",
            code=reason.code,
        )
    if reason:
        raise reason
    return write_labels(labels, output, encoding=encoding)


def _draw(labels: LabelMap, output: Path, labelled: Scan | None) -> Path:
    """A picture of three planes through the labels."""
    if labelled is None:
        raise InputError("a picture shows labels over their scan; give the scan with --like")
    from medseg.workflows.figures import overlay

    return write_bytes(output, overlay(labelled, labels))
