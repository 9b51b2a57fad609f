"""What is in a file or folder, and whether it can be trusted: one report per volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np

from medseg.discovery.scans import Finding, Info, ScanSource, sources_below
from medseg.errors import GeometryError, InputError, MedsegError, ReadError
from medseg.reading import zip_archive
from medseg.reading.dicom.geometry import depths_mm
from medseg.reading.dicom.headers import sanitized, sniff
from medseg.reading.dicom.pixel_data import check_pixel_length
from medseg.reading.dicom.repair import repair_of
from medseg.reading.dicom.series import list_stacks, read_stack
from medseg.reading.dicom.stacks import Stack
from medseg.reading.error_context import in_file
from medseg.reading.policies import REFUSE, Policies
from medseg.runtime.progress import Progress, silent, tell
from medseg.volume import Grid, Scan
from medseg.volume.conventions import obliquity_degrees, orientation_letters

Outcome = Literal["ok", "repaired", "refused"]
Extra = TypeVar("Extra")
_MOST_NAMED = 3


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a volume can be read.

    Parameters
    ----------
    outcome : {"ok", "repaired", "refused"}
        Repaired: read, but not as it lies in the files; `why` says how.
    code : str
        Of the refusal, for machines.
    why : str
        One sentence: what is wrong and what to do, or what was repaired.
    """

    outcome: Outcome
    code: str = ""
    why: str = ""


class VolumeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that was found.

    Parameters
    ----------
    name : str
        For outputs; from file and folder names only.
    series_uid : str
        What ``--series`` chooses it by; empty for formats without series.
    format : str
    modality, image_type : str
        As DICOM says them; no other text of the header is shown.
    shape : tuple of int
        Voxels along I, J, K; empty where refused.
    spacing_mm : tuple of float
    channels : int
        Of the voxels.
    orientation : str
        Anatomical direction in which each of I, J, K grows.
    oblique_degrees, tilt_degrees : float
        Largest angle between a voxel axis and its closest anatomical axis; shear of the slices.
    slices, missing, duplicates : int
        Images found, slices that seem to be missing, copies left out.
    irregular_mm : float
        Largest departure of a slice distance from the usual one, where they are uneven.
    volume, volumes : int
        Which volume of its series (phase, echo, time point) this is, of how many.
    transfer_syntax : str
        How its pixels are encoded.
    decodable : bool
        Whether its pixels can be read, as far as was looked.
    has_physical_size : bool
        Whether its spacing is in mm; see :class:`medseg.volume.Provenance`.
    notes : tuple of str
    verdict : Verdict
        Whether it can be used.
    """

    name: str
    verdict: Verdict
    series_uid: str = ""
    format: str = ""
    modality: str = ""
    image_type: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    channels: int = 0
    orientation: str = ""
    oblique_degrees: float = 0.0
    tilt_degrees: float = 0.0
    slices: int = 0
    missing: int = 0
    duplicates: int = 0
    irregular_mm: float = 0.0
    volume: int = 1
    volumes: int = 1
    transfer_syntax: str = ""
    decodable: bool = False
    has_physical_size: bool = True
    notes: tuple[str, ...] = ()


def inspect(
    path: str | Path,
    *,
    policies: Policies = REFUSE,
    pixels: bool = False,
    progress: Progress = silent,
) -> tuple[VolumeReport, ...]:
    """Report on every volume in a file, in a zip archive of DICOM or below a folder.

    Of DICOM only headers are read, each file once, unless `pixels` asks for more; files of other
    formats are read whole.

    Parameters
    ----------
    path : str or Path
        A file or a folder; archives and pictures in it are looked at too.
    policies : Policies, optional
    pixels : bool, default False
        Whether to decode all pixels of DICOM too.
    progress : Progress, optional

    Returns
    -------
    tuple of VolumeReport
        In the order of their paths; damaged files are refused ones.

    Raises
    ------
    ReadError
        When nothing is there.
    """
    reports = inspect_with(
        path, extract=lambda _: None, policies=policies, pixels=pixels, progress=progress
    )
    return tuple(report for _, report, _ in reports)


def inspect_with(
    path: str | Path,
    *,
    extract: Callable[[Stack], Extra],
    extra_fields: tuple[str, ...] = (),
    policies: Policies = REFUSE,
    pixels: bool = False,
    progress: Progress = silent,
) -> tuple[tuple[ScanSource, VolumeReport, Extra | None], ...]:
    """Report as :func:`inspect` does, with where each volume is and what else its headers say.

    `extract` is called with each DICOM stack while its files are there; what it returns is passed
    on. It may ask for the header fields of `extra_fields`, too.

    Returns
    -------
    tuple of (ScanSource, VolumeReport, what `extract` returned or None)
        In the order of their paths; None for formats other than DICOM and for damaged files.

    Raises
    ------
    ReadError
        When nothing is there.
    """
    root = Path(path)
    if not root.exists():
        raise ReadError(f"'{root}' does not exist; check the path", code="NOT_FOUND")

    def describe(stack: Stack) -> tuple[VolumeReport, Extra]:
        return _of_stack(stack, policies=policies, pixels=pixels), extract(stack)

    results: list[tuple[ScanSource, VolumeReport, Extra | None]] = []
    findings, skipped = _findings(root, describe, progress, extra_fields)
    if skipped:
        tell(progress, _passed_over(skipped))
    for done, (source, info) in enumerate(findings, start=1):
        results.append(_with_report(source, info))
        progress(done, len(findings), "looking at scans")
    return tuple(results)


def _with_report(
    source: ScanSource, info: tuple[VolumeReport, Extra] | InputError | None
) -> tuple[ScanSource, VolumeReport, Extra | None]:
    """A volume with its report, and the rest where there is any."""
    if isinstance(info, tuple):
        return source, _report(source, info[0]), info[1]
    return source, _report(source, info), None


def _findings(
    root: Path,
    describe: Callable[[Stack], Info],
    progress: Progress,
    extra_fields: tuple[str, ...],
) -> tuple[list[Finding[Info]], list[Path]]:
    """Every volume, with what `describe` returns where it is a DICOM stack; files that are none."""
    if root.is_dir() or zip_archive.recognises(root):
        return sources_below(
            root,
            pictures=True,
            describe=describe,
            progress=progress,
            extra_fields=extra_fields,
        )
    source = ScanSource(root, "", root.name)
    if sniff(root) not in ("dicom", "guess"):
        return [(source, None)], []
    try:
        stacks = list_stacks(root, progress=progress, extra_fields=extra_fields)
    except InputError:
        return [(source, None)], []
    named = [(ScanSource(root, stack.selector, root.name), describe(stack)) for stack in stacks]
    return list(named), []


def _passed_over(paths: Sequence[Path]) -> str:
    """A sentence about files that hold no scan."""
    names = ", ".join(path.name for path in paths[:_MOST_NAMED])
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return f"{len(paths)} other file(s) hold no scan and are passed over: {names}{more}"


def _report(source: ScanSource, info: VolumeReport | InputError | None) -> VolumeReport:
    """The report on a volume, under its name."""
    if isinstance(info, InputError):
        format_name = "zip" if zip_archive.recognises(source.path) else "dicom"
        return VolumeReport(name=source.name, format=format_name, verdict=_refused(info))
    return msgspec.structs.replace(info or _of_file(source), name=source.name)


def _of_file(source: ScanSource) -> VolumeReport:
    """Report on a file that is no DICOM stack, read whole."""
    from medseg.reading import read_scan

    try:
        scan = read_scan(source.path)
        with in_file(source.path):
            scan.check_finite()
    except MedsegError as error:
        return VolumeReport(name=source.name, verdict=_refused(error))
    return msgspec.structs.replace(
        _of_grid(scan.grid),
        format=scan.provenance.format,
        modality=scan.modality,
        channels=scan.channels,
        slices=scan.grid.shape[2],
        decodable=True,
        has_physical_size=scan.provenance.has_physical_size,
        notes=scan.provenance.notes,
    )


def _of_stack(stack: Stack, *, policies: Policies, pixels: bool) -> VolumeReport:
    """Report on a DICOM stack, from its headers (and its pixels), still without a name."""
    notes, refusal, grid, repairs = list(stack.notes), stack.refusal, stack.grid, []
    if stack.copies:
        repairs.append(f"{stack.copies} copies of slices were left out")
    unreadable, scan = _unreadable(stack, policies, pixels=pixels)
    try:
        if isinstance(refusal, GeometryError) and policies.allows(refusal.code):
            repair = repair_of(stack.frames, refusal)
            grid, refusal = repair.grid, None
            repairs.append(repair.note)
    except InputError as error:
        refusal = error
    if scan is not None:
        notes = [note for note in scan.provenance.notes if note not in repairs]
    report = _of_grid(grid) if grid else VolumeReport(name="", verdict=_OK)
    missing, irregular_mm = _gaps(stack)
    return msgspec.structs.replace(
        report,
        series_uid=stack.selector,
        format="dicom",
        modality=stack.modality,
        image_type=sanitized(stack.frames[0].file.text("ImageType").replace("\\", " ")),
        channels=stack.frames[0].file.count("SamplesPerPixel", 1),
        slices=len(stack.frames),
        missing=missing,
        duplicates=stack.copies,
        irregular_mm=irregular_mm,
        volume=stack.volume[0],
        volumes=stack.volume[1],
        transfer_syntax=_syntax_name(stack),
        decodable=unreadable is None,
        has_physical_size=stack.has_physical_size,
        notes=tuple(notes),
        verdict=_verdict(refusal or unreadable, repairs),
    )


_OK = Verdict(outcome="ok")


def _of_grid(grid: Grid) -> VolumeReport:
    return VolumeReport(
        name="",
        shape=grid.shape,
        spacing_mm=grid.spacing_mm,
        orientation=orientation_letters(grid),
        oblique_degrees=obliquity_degrees(grid),
        tilt_degrees=grid.shear_degrees,
        verdict=_OK,
    )


def _verdict(refusal: MedsegError | None, repairs: list[str]) -> Verdict:
    if refusal is not None:
        return _refused(refusal)
    return Verdict(outcome="repaired", why="; ".join(repairs)) if repairs else _OK


def _refused(error: MedsegError) -> Verdict:
    return Verdict(outcome="refused", code=error.code, why=str(error))


def _unreadable(
    stack: Stack, policies: Policies, *, pixels: bool
) -> tuple[MedsegError | None, Scan | None]:
    """Why the pixels of a stack cannot be read, by size and syntax or by reading them."""
    try:
        for file in dict.fromkeys(frame.file for frame in stack.frames):
            check_pixel_length(file)
        if pixels and (stack.refusal is None or policies.allows(stack.refusal.code)):
            return None, read_stack(stack, policies=policies)
    except InputError as error:
        return error, None
    return None, None


def _gaps(stack: Stack) -> tuple[int, float]:
    """Slices that seem to be missing, and the largest departure from the usual distance in mm."""
    code = stack.refusal.code if stack.refusal else ""
    if code not in ("MISSING_SLICE", "IRREGULAR"):
        return 0, 0.0
    gaps = np.diff(depths_mm(stack.frames))
    median_mm = float(np.median(gaps))
    if code == "MISSING_SLICE":
        return int((np.round(gaps / median_mm) - 1).sum()), 0.0
    return 0, float(np.abs(gaps - median_mm).max())


def _syntax_name(stack: Stack) -> str:
    """Name of the transfer syntax, or its UID when it has none."""
    return sanitized(stack.frames[0].file.transfer_syntax.name)
