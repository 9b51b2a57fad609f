"""Journey: a label map or a scan in one format in, in another out, every voxel at its place."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.errors import GeometryError, InputError, MedsegError, WriteError
from medseg.reading import dicom_seg, read_labels, read_scan, rtstruct
from medseg.volume import LabelMap, LabelTable, Scan
from medseg.volume.conventions import Reorientation, orientation_letters
from medseg.writing import label_suffixes, scan_suffixes, write_labels, write_scan
from medseg_pipelines.destination import check_file
from medseg_pipelines.screen import Screen
from medseg_pipelines.segment import describe

Kind = Literal["auto", "labels", "scan"]

_PICTURE = ".png"
_DICOM = ".dcm"
_VOXEL = 0.01  # voxels; how far from whole steps two grids may lie apart to share voxels


def convert_file(
    path: Path,
    output: Path,
    *,
    like: Path | None = None,
    series: str | None = None,
    kind: Kind = "auto",
    encoding: str | None = None,
    names: tuple[str, ...] = (),
    screen: Screen,
) -> Path:
    """Convert a label map to any format that label maps have, or a scan to NIfTI, NRRD or MHA.

    Parameters
    ----------
    path : Path
        File, or folder of a DICOM series.
    output : Path
        Its suffix chooses the format; ``.png`` is a picture of the labels over `like`.
    like : Path, optional
        The scan that was labelled. The label map is put on its grid, voxel by voxel, and DICOM
        results refer to it.
    series : str, optional
        Which series of a DICOM folder, `like` or `path`.
    kind : {"auto", "labels", "scan"}, default "auto"
        What `path` is. "auto" goes by the formats, and where both are possible it is a label map
        when the file names its labels.
    encoding : str, optional
        Of a DICOM SEG.
    names : tuple of str, default ()
        Labels to keep; all when empty.
    screen : Screen
        Told what was read, what was unusual, and what was written.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    MedsegError
        When something given cannot be used; nothing is written then.
    """
    _check_output(path, output)
    labels = None if kind == "scan" else _labels(path, output, like, series, kind)
    if labels is None:
        with screen.progress("reading") as progress:
            scan = read_scan(path, series=series, progress=progress)
        screen.say(f"Scan:   {describe(scan)}")
        _say_notes(scan.provenance.notes, screen)
        output.parent.mkdir(parents=True, exist_ok=True)
        written = write_scan(scan, output)
    else:
        kept = _kept(labels, names)
        screen.say(f"Labels: {', '.join(kept.table.names) or 'none'}")
        _say_notes(labels.provenance.notes, screen)
        output.parent.mkdir(parents=True, exist_ok=True)
        written = _write(kept, output, like, series, encoding)
    screen.say(f"Wrote {written}.")
    return written


def _check_output(path: Path, output: Path) -> None:
    """Raise unless `output` has a known suffix, can be written, and is not `path`."""
    known = sorted({*label_suffixes(), *scan_suffixes(), _PICTURE})
    if not output.name.lower().endswith(tuple(known)):
        raise InputError(
            f"cannot tell the format of the output '{output.name}'; end it in one of:"
            f" {', '.join(known)}",
            code="UNKNOWN_FORMAT",
        )
    check_file(output)
    if output.exists() and path.exists() and output.samefile(path):
        raise InputError(f"the output '{output}' is the input itself; choose another file")


def _say_notes(notes: tuple[str, ...], screen: Screen) -> None:
    for note in notes:
        screen.say(f"Note:   {note}")


def _labels(
    path: Path, output: Path, like: Path | None, series: str | None, kind: Kind
) -> LabelMap | None:
    """The label map in `path`; None when it is a scan."""
    if kind == "auto" and not _surely_labels(path, output, like):
        return _named_labels(path)
    if like is None:
        return read_labels(path)
    scan = read_scan(like, series=series)
    if path.exists() and rtstruct.recognises(path):
        return rtstruct.read_labels_on(path, scan=scan)
    return _on(read_labels(path), scan)


def _surely_labels(path: Path, output: Path, like: Path | None) -> bool:
    """Whether a format, or a scan to put it on, says that `path` is a label map."""
    if like is not None or not output.name.lower().endswith(scan_suffixes()):
        return True
    if any(name.lower().endswith(".seg.nrrd") for name in (path.name, output.name)):
        return True
    return path.exists() and (dicom_seg.recognises(path) or rtstruct.recognises(path))


def _named_labels(path: Path) -> LabelMap | None:
    """The label map in a file of images, if the file names its labels."""
    try:
        labels = read_labels(path)
    except MedsegError:
        return None  # reading it as a scan tells what is wrong, if anything is
    named = any(label.name != f"label {label.value}" for label in labels.table)
    return labels if named else None


def _on(labels: LabelMap, scan: Scan) -> LabelMap:
    """The same labels on the scan's grid, of which theirs may be a part, in any axis order.

    Raises
    ------
    GeometryError
        When voxels of the two do not coincide, or labels lie beyond the scan.
    """
    turn = Reorientation.towards(labels.grid, orientation_letters(scan.grid))
    corners = turn.target.corners_mm()
    index = scan.grid.to_index(corners)
    first = np.round(index[0])
    steps = (np.arange(8)[:, None] >> np.arange(3)) & 1
    expected = first + steps * (np.asarray(turn.target.shape) - 1)
    off = float(np.abs(index - expected).max())
    if off > _VOXEL:
        raise GeometryError(
            f"the labels' voxels lie up to {off:.2g} voxels away from the scan's; give the scan"
            " that was labelled",
            code="GRIDS_DIFFER",
        )
    values = np.zeros(scan.grid.shape, labels.values.dtype)
    held = np.argwhere(turned := turn.apply(labels.values))
    place = held + first.astype(int)
    if ((place < 0) | (place >= scan.grid.shape)).any():
        raise GeometryError(
            "labels lie beyond the scan; give the scan that was labelled", code="OUTSIDE_IMAGE"
        )
    values[tuple(place.T)] = turned[tuple(held.T)]
    notes = (*scan.provenance.notes, *labels.provenance.notes)
    return LabelMap(values, scan.grid, labels.table, replace(scan.provenance, notes=notes))


def _kept(labels: LabelMap, names: tuple[str, ...]) -> LabelMap:
    """Only the labels with these names; all of them when there are none."""
    if not names:
        return labels
    unknown = [name for name in names if name not in labels.table.names]
    if unknown:
        raise InputError(
            f"there is no label '{unknown[0]}'; there are: {', '.join(labels.table.names)}",
            code="UNKNOWN_LABEL",
        )
    rows = tuple(label for label in labels.table if label.name in names)
    keep = np.isin(labels.values, [label.value for label in rows])
    return LabelMap(
        np.where(keep, labels.values, 0), labels.grid, LabelTable(rows), labels.provenance
    )


def _write(
    labels: LabelMap, output: Path, like: Path | None, series: str | None, encoding: str | None
) -> Path:
    ending = output.name.lower()
    if ending.endswith(_PICTURE):
        return _draw(labels, output, like, series)
    if ending.endswith(_DICOM) and labels.provenance.format != "dicom":
        raise InputError(
            f"a DICOM result ('{output.name}') must refer to the series that was labelled; give it"
            " with --like",
            code="NO_DICOM_SOURCE",
        )
    return write_labels(labels, output, encoding=encoding)


def _draw(labels: LabelMap, output: Path, like: Path | None, series: str | None) -> Path:
    """A picture of three planes through the labels."""
    if like is None:
        raise InputError("a picture shows labels over their scan; give the scan with --like")
    from medseg_pipelines.pictures import overlay

    picture = overlay(read_scan(like, series=series), labels)
    scratch = output.with_name(f".{uuid.uuid4().hex[:12]}{_PICTURE}")
    try:
        with scratch.open("xb") as file:
            file.write(picture)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(output)
    except OSError as error:
        raise WriteError(
            f"cannot write '{output}': {error.strerror or error}; choose another place"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
    return output
