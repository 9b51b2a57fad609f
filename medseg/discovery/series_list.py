"""A study to choose from: each series as its header describes it, and how to display it.

Descriptions are what people typed at a scanner: they may be shown, and are never stored, logged
or put into messages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.discovery.inspection import Verdict, VolumeReport, inspect_with
from medseg.discovery.label_places import is_label_map
from medseg.errors import ReadError, SelectionError
from medseg.reading import zip_archive
from medseg.reading.dicom.headers import DicomFile, as_items, as_numbers, class_uid, read_header
from medseg.reading.dicom.series import list_stacks, read_stack
from medseg.reading.dicom.sop_classes import label_storages
from medseg.reading.dicom.stacks import Stack
from medseg.reading.file_names import without_suffix
from medseg.reading.policies import REFUSE, Policies
from medseg.runtime.progress import Progress, silent
from medseg.volume import Grid, Scan

LABEL_KINDS = ("SEG", "RTSTRUCT")
"""Modalities of DICOM objects of labels."""
_SHOWN = ("SeriesDescription", "WindowCenter", "WindowWidth")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class DisplayWindow:
    """Which values a viewer shows from black to white.

    Parameters
    ----------
    centre, width : float
        In the units of the voxels, after rescaling.
    """

    centre: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """Black and white level (LINEAR_EXACT of DICOM PS3.3 C.11.2.1.3.2)."""
        return self.centre - self.width / 2, self.centre + self.width / 2


@dataclass(frozen=True)
class SeriesEntry:
    """A series of a study, or a file: what one row of a list of series says.

    Parameters
    ----------
    path : Path
        A file, or the folder that holds the slices.
    selectors : tuple of str
        What `series` chooses each of its volumes by, in their order; one empty text for a file
        that is no DICOM.
    report : VolumeReport
        Of its first volume, or of the first that is refused.
    description : str
        What was typed at the scanner. It may be shown; it must not be stored or logged.
    window : DisplayWindow or None
        What the header asks for.
    """

    path: Path
    selectors: tuple[str, ...]
    report: VolumeReport
    description: str = ""
    window: DisplayWindow | None = None

    @property
    def volumes(self) -> int:
        """How many volumes (time points, phases) it holds."""
        return len(self.selectors)

    @property
    def is_labels(self) -> bool:
        """Whether it is a label map and no scan, as far as its header, name and place tell."""
        return self.report.modality in LABEL_KINDS or is_label_map(self.path)


@dataclass(frozen=True)
class _HeaderFacts:
    """What the header of a stack says beyond its report."""

    description: str
    window: DisplayWindow | None
    grid: Grid | None
    series_uid: str
    files: tuple[Path, ...]


def list_series(
    path: str | Path, *, policies: Policies = REFUSE, progress: Progress = silent
) -> tuple[SeriesEntry, ...]:
    """Every series and file below a folder; volumes of one series on one grid are one entry.

    DICOM SEG and RT Structure Set objects are listed too, with their modality and no slices;
    :func:`medseg.reading.read_labels` reads them.

    Parameters
    ----------
    path : str or Path
        A folder, a zip archive of DICOM, or a file.
    policies : Policies, optional
    progress : Progress, optional
        Called after each file; raising `medseg.errors.Cancelled` in it stops.

    Returns
    -------
    tuple of SeriesEntry
        In the order of their paths; what cannot be read is there with its reason.

    Raises
    ------
    ReadError
        When nothing is there.
    """
    root = Path(path)
    if root.is_file() and (labels := _label_entry(root)):
        return (labels,)
    entries = _scans(root, policies, progress)
    scan_files = {file for _, files in entries for file in files}
    rows = [entry for entry, _ in entries]
    if root.is_dir():
        for file in sorted(root.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
            if file.is_file() and not hidden and file not in scan_files:
                rows += [labels] if (labels := _label_entry(file)) else []
    return tuple(rows)


def _scans(
    path: Path, policies: Policies, progress: Progress
) -> list[tuple[SeriesEntry, tuple[Path, ...]]]:
    """The entries that are scans, each with the files it was found in."""
    entries: list[tuple[SeriesEntry, tuple[Path, ...]]] = []
    previous: _HeaderFacts | None = None
    for source, report, header in inspect_with(
        path, extract=_header_facts, extra_fields=_SHOWN, policies=policies, progress=progress
    ):
        entry = SeriesEntry(source.path, (source.series_uid,), report)
        files = header.files if header else (source.path,)
        if header is not None:
            entry = replace(entry, description=header.description, window=header.window)
        if previous and header and _continues(entries[-1][0], previous, entry, header):
            first_entry, earlier_files = entries.pop()
            files += earlier_files
            entry = replace(first_entry, selectors=(*first_entry.selectors, *entry.selectors))
        entries.append((entry, files))
        previous = header
    return entries


def _label_entry(path: Path) -> SeriesEntry | None:
    """The entry of a DICOM SEG or an RT Structure Set; None for other files and damaged ones."""
    with contextlib.suppress(ReadError):
        modality = label_storages().get(class_uid(path), "")
        file = read_header(path, _SHOWN) if modality else None
        if file:
            report = VolumeReport(
                name=without_suffix(path),
                verdict=Verdict(outcome="ok"),
                format="dicom",
                modality=modality,
                decodable=True,
            )
            return SeriesEntry(path, ("",), report, _description(file))
    return None


def read_volumes(
    path: str | Path,
    selectors: Sequence[str],
    *,
    policies: Policies = REFUSE,
    progress: Progress = silent,
) -> list[Scan]:
    """Read the volumes of an entry; headers are read once for all.

    Parameters
    ----------
    path : str or Path
    selectors : sequence of str
        Of the entry, or some of them.
    policies : Policies, optional
    progress : Progress, optional
        Called after each header and each slice.

    Raises
    ------
    InputError
        As :func:`medseg.reading.read_scan` does.
    """
    from medseg.reading import read_scan

    if len(selectors) == 1:
        series = selectors[0] or None
        return [read_scan(path, series=series, policies=policies, progress=progress)]
    with _folder(Path(path), progress) as folder:
        stacks = {stack.selector: stack for stack in list_stacks(folder, progress=progress)}
        missing = [selector for selector in selectors if selector not in stacks]
        if missing:
            raise SelectionError(
                f"{len(missing)} of {len(selectors)} volumes of the series are no longer in"
                f" '{Path(path).name}'; look at the folder again"
            )
        selected = [stacks[selector] for selector in selectors]
        return [read_stack(stack, policies=policies, progress=progress) for stack in selected]


def window_of(scan: Scan) -> DisplayWindow | None:
    """What the header of a scan's middle slice asks for.

    Returns
    -------
    DisplayWindow or None
        None when it is no DICOM, says nothing, or is no longer there.
    """
    files = scan.provenance.files
    if scan.provenance.format != "dicom" or not files:
        return None
    middle = files[len(files) // 2]
    with contextlib.suppress(Exception):  # a convenience; reading has raised what is wrong
        header = read_header(middle, _SHOWN)
        return _window(header) if header else None
    return None


def _header_facts(stack: Stack) -> _HeaderFacts:
    file = stack.frames[len(stack.frames) // 2].file
    return _HeaderFacts(
        _description(file), _window(file), stack.grid, stack.series_uid, stack.paths
    )


def _description(file: DicomFile) -> str:
    return " ".join(file.text("SeriesDescription").split())


def _window(file: DicomFile) -> DisplayWindow | None:
    """The first window of a header, or of its functional groups."""
    datasets = [file.header]
    for keyword in _GROUPS:
        for group in as_items(file.header, keyword)[:1]:
            datasets += as_items(group, "FrameVOILUTSequence")[:1]
    for dataset in datasets:
        centre, width = as_numbers(dataset, "WindowCenter"), as_numbers(dataset, "WindowWidth")
        if centre and width and width[0] >= 1:
            return DisplayWindow(centre[0], width[0])
    return None


def _continues(
    first_entry: SeriesEntry, previous: _HeaderFacts, entry: SeriesEntry, header: _HeaderFacts
) -> bool:
    """Whether a volume is the next time point of the entry before it."""
    if previous.grid is None or header.grid is None or first_entry.path != entry.path:
        return False
    earlier, later = first_entry.report, entry.report
    kinds = (earlier.modality, earlier.image_type, earlier.verdict.outcome)
    alike = kinds == (later.modality, later.image_type, later.verdict.outcome)
    alike = alike and "MIXED" not in earlier.image_type.split()  # frames of several kinds
    same_series = bool(header.series_uid) and previous.series_uid == header.series_uid
    return alike and same_series and previous.grid.same_as(header.grid)


@contextlib.contextmanager
def _folder(path: Path, progress: Progress) -> Iterator[Path]:
    """The folder itself, or that of an unpacked archive."""
    if path.is_dir() or not zip_archive.recognises(path):
        yield path
        return
    with zip_archive.unpacked(path, progress=progress) as folder:
        yield folder
