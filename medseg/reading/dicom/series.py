"""DICOM images: a folder of slices or a multi-frame file, placed by their own headers only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import GeometryError, InputError, ReadError
from medseg.reading.dicom.agreement import owners_differ
from medseg.reading.dicom.decoding import prewarm_decoder
from medseg.reading.dicom.folder import stacks_below
from medseg.reading.dicom.geometry import check_corners
from medseg.reading.dicom.headers import DicomFile, read_header, read_image, sniff
from medseg.reading.dicom.pixels import read_voxels
from medseg.reading.dicom.planar import lacks_position
from medseg.reading.dicom.repair import native_slices_of, repair_of
from medseg.reading.dicom.selection import choose
from medseg.reading.dicom.stacks import Stack, stacks_of
from medseg.reading.error_context import in_file
from medseg.reading.policies import REFUSE, Policies
from medseg.runtime.progress import Progress, silent
from medseg.volume import Scan


def recognises(path: Path) -> bool:
    """Whether `path` is a folder, or a file that starts as DICOM does."""
    return path.is_dir() or sniff(path) in ("dicom", "guess")


def read(path: Path, *, series: str | None, progress: Progress) -> Scan:
    """Read one stack of a folder, or a multi-frame file.

    Parameters
    ----------
    path : Path
        Folder (searched at any depth) or file.
    series : str or None
        SeriesInstanceUID, a beginning of it that no other stack has, or the place (from 1) in the
        list of stacks. Needed when there are several.
    progress : Progress
        Called after each header and each slice.

    Returns
    -------
    Scan
        Voxels (1, I, J, K), I along the rows' direction; int16 when exact, else float32. The
        provenance has one file and one SOPInstanceUID per K index.

    Raises
    ------
    ReadError
        When there is no DICOM image, or one is damaged or truncated.
    SelectionError
        When there are several stacks and `series` does not choose one.
    GeometryError
        When the slices are not one even stack; the code says why.
    """
    return read_by_policy(path, series=series, policies=REFUSE, progress=progress)


def read_by_policy(
    path: Path, *, series: str | None, policies: Policies, progress: Progress
) -> Scan:
    """Read as :func:`read` does, and repair what the user allows.

    Returns
    -------
    Scan
        Its provenance says what was repaired; a repaired scan, whose slices are not those of
        the files, has those as ``provenance.native`` and names no instances of its own.
    """
    stack, notes = choose(list_stacks(path, progress=progress), series, path)
    return _with_notes(read_stack(stack, policies=policies, progress=progress), notes)


def read_files(
    paths: Sequence[Path],
    *,
    series: str | None,
    policies: Policies = REFUSE,
    progress: Progress = silent,
) -> Scan:
    """Read one stack of these files, whatever else lies beside them.

    Parameters
    ----------
    paths : sequence of Path
        All files of a series, in any order.
    series : str or None
        Which stack, as of a folder of them.
    policies : Policies, optional
    progress : Progress, optional
        Called after each header and each slice.

    Raises
    ------
    InputError
        As for a folder of them; or when a file holds no image.
    """
    images = []
    for done, path in enumerate(sorted(paths), start=1):
        images.append(read_image(path))
        prewarm_decoder(images[-1])
        progress(done, len(paths), "reading headers")
    folder = paths[0].parent if paths else Path()
    stack, notes = choose(stacks_of(images), series, folder)
    return _with_notes(read_stack(stack, policies=policies, progress=progress), notes)


def list_stacks(
    folder: str | Path, *, progress: Progress = silent, extra_fields: tuple[str, ...] = ()
) -> list[Stack]:
    """Every stack of images below a folder, readable or not, without reading pixels.

    Parameters
    ----------
    folder : str or Path
    progress : Progress, optional
    extra_fields : tuple of str, optional
        Further header fields to read, by keyword.

    Returns
    -------
    list of Stack
        In the order of their first files. `Stack.refusal` says why one cannot be read.

    Raises
    ------
    ReadError
        When there is no stack, and a DICOM file is damaged.
    InputError
        When `folder` is one slice of several.
    """
    root = Path(folder)
    if root.is_dir():
        stacks, faults, _ = stacks_below(
            root, progress, on_image=prewarm_decoder, extra_fields=extra_fields
        )
        for fault in faults.values() if not stacks else ():
            raise fault
        return stacks
    image = read_image(root, extra_fields)
    if not image.is_multiframe:
        _check_single(image)
    return stacks_of([image])


def read_stack(stack: Stack, *, policies: Policies = REFUSE, progress: Progress = silent) -> Scan:
    """Read the pixels of a stack and check that every slice lies where its header says.

    Raises
    ------
    InputError
        The stack's own refusal, if it has one.
    ReadError
        When a file is damaged or truncated.
    GeometryError
        Code ``SELF_CHECK``, when a slice would lie more than 0.1 mm from its place.
    """
    with in_file(stack.paths[0].parent):
        if stack.grid is None:
            return _repaired(stack, policies, progress)
        check_corners(stack.frames, stack.grid)
        voxels, notes = read_voxels(stack.frames, progress=progress)
        uids = tuple(frame.file.instance_uid for frame in stack.frames)
        if owners_differ(stack.frames):
            uids = ()
        if stack.frames[0].tile is not None:
            uids = ()
            notes.append("slices of a mosaic: results can be written, but not as DICOM SEG")
        if lacks_position(stack.frames[0]):
            uids = ()
            notes.append("results can be written, but not as DICOM SEG")
        if not all(uids):
            notes.append("SOPInstanceUIDs are blank: results can be written, but not as DICOM SEG")
        provenance = stack.provenance(notes, instance_uids=uids)
        return Scan(voxels, stack.grid, stack.modality, provenance)


def _with_notes(scan: Scan, notes: Sequence[str]) -> Scan:
    """The scan with more notes."""
    source = scan.provenance
    provenance = dataclasses.replace(source, notes=(*source.notes, *notes))
    return dataclasses.replace(scan, provenance=provenance)


def _repaired(stack: Stack, policies: Policies, progress: Progress) -> Scan:
    """The scan of a stack that is not even, or its refusal."""
    refusal = stack.refusal or ReadError("the stack has no grid")
    if not isinstance(refusal, GeometryError) or not policies.allows(refusal.code):
        raise refusal
    repair = repair_of(stack.frames, refusal)
    voxels, notes = read_voxels(stack.frames, progress=progress)
    notes.append(
        "its slices are not those of the files: DICOM results carry the labels to the files' slices"
    )
    provenance = stack.provenance((repair.note, *notes), native=native_slices_of(stack.frames))
    return Scan(repair.apply(voxels), repair.grid, stack.modality, provenance)


def _check_single(image: DicomFile) -> None:
    """Raise `InputError` when a slice's folder holds more of its series."""
    for path in sorted(image.path.parent.iterdir()):
        if path == image.path or not path.is_file():
            continue
        other = read_header(path)
        if other is not None and other.series_uid == image.series_uid:
            raise InputError(
                f"{image.path.name} is one slice of a series; give its folder"
                f" '{image.path.parent}' to read the whole",
                code="ONE_SLICE",
            )
