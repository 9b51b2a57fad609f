"""Stacks: frames that belong to one volume, and why a stack cannot be read where it cannot."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError, InputError
from medseg.reading.dicom.agreement import disagreement, notes_on
from medseg.reading.dicom.duplicates import without_duplicates
from medseg.reading.dicom.frames import Frame, frames_of
from medseg.reading.dicom.geometry import (
    SAME_POSITION_MM,
    SINGLE_SLICE,
    depths_mm,
    grid_of,
)
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.planar import as_plane, is_2d, is_cine
from medseg.reading.dicom.refusals import no_geometry, refusal_by_kind
from medseg.reading.dicom.splitting import Part, split
from medseg.volume import Grid, NativeSlices, Provenance

_SAME_ORIENTATION = 1e-3
_SAME_SPACING_MM = 1e-4
_NEARLY = 1e-2
_MOST_SHOWN = 80

PICTURE_CODES = ("NO_GEOMETRY", "COLOUR")
"""Refusals of pictures that are no volume at all, such as screenshots in a series folder."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one orientation at distinct positions: one volume, or the reason why it is none.

    Parameters
    ----------
    frames : tuple of Frame
        In K order when there is a grid.
    grid : Grid or None
        Where the voxels lie; None when refused.
    refusal : InputError or None
        Raised when someone reads this stack.
    notes : tuple of str
        What was repaired or is worth knowing.
    selector : str
        What `series` chooses it by: the SeriesInstanceUID, followed by ``#n`` when several
        stacks share it.
    copies : int
        Files that were left out because another is the same image.
    volume : tuple of int
        Which volume of its series (phase, echo, time point) it is, from 1, and of how many.
    laterality_known, has_physical_size : bool
    split_by : str
        The field, and its value, that tells it from the other volumes of its series.
    """

    frames: tuple[Frame, ...]
    grid: Grid | None
    refusal: InputError | None
    notes: tuple[str, ...] = ()
    selector: str = ""
    copies: int = 0
    volume: tuple[int, int] = (1, 1)
    laterality_known: bool = True
    has_physical_size: bool = True
    split_by: str = ""

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; empty when blank in all its files."""
        return next((uid for frame in self.frames if (uid := frame.file.series_uid)), "")

    @property
    def modality(self) -> str:
        """DICOM modality word."""
        return self.frames[0].file.modality

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file of each frame, in the order of the frames."""
        return tuple(frame.file.path for frame in self.frames)

    @property
    def is_picture(self) -> bool:
        """Whether it can never be a volume (no position in the patient, or colour)."""
        return self.refusal is not None and self.refusal.code in PICTURE_CODES

    def provenance(
        self,
        notes: Iterable[str],
        *,
        instance_uids: tuple[str, ...] = (),
        native: NativeSlices | None = None,
    ) -> Provenance:
        """Provenance of the scan read from the stack; `notes` come after its own."""
        return Provenance(
            "dicom",
            self.paths,
            self.series_uid,
            instance_uids,
            (*self.notes, *notes),
            native,
            laterality_known=self.laterality_known,
            has_physical_size=self.has_physical_size,
            frame_of_reference_uid=self.frames[0].file.text("FrameOfReferenceUID"),
        )

    def describe(self) -> str:
        """One line for a person: selector, modality, size, spacing, slices; no patient text."""
        rows, columns = self.frames[0].size
        location = f"cannot be read: {self.refusal.code}" if self.refusal else ""
        if self.grid is not None:
            location = " x ".join(f"{mm:.3g}" for mm in self.grid.spacing_mm) + " mm"
        uid = self.selector or "(no UID)"
        uid = f"{uid[:_MOST_SHOWN]}..." if len(uid) > _MOST_SHOWN else uid
        kind = self.modality or "?"
        size = f"{columns} x {rows}  {len(self.frames)} slice(s)"
        return "  ".join(filter(None, (uid, kind, size, location, self.split_by)))


def stacks_of(files: Sequence[DicomFile]) -> list[Stack]:
    """Group files into stacks, in the order in which their first files come.

    Notes
    -----
    Frames of one stack share SeriesInstanceUID, SOPClassUID, FrameOfReferenceUID, Rows, Columns,
    orientation (within 1e-3) and PixelSpacing (within 1e-4 mm); a multi-frame file of several
    places is on its own. What such a split leaves is one stack again where it is one even stack:
    the split was wrong. Each frame of a cine is a stack.
    """
    series: dict[tuple[str, tuple[int, int]], list[Frame]] = {}
    for file in files:
        for frame in frames_of(file):
            key = (file.text("SeriesInstanceUID"), frame.size)
            series.setdefault(key, []).append(frame)
    stacks = {key: _in_series(frames) for key, frames in series.items()}
    for size in [size for uid, size in series if not uid]:
        _join_blank(stacks, size)
    return _with_selectors([stack for key in stacks for stack in stacks[key]])


def _join_blank(
    stacks: dict[tuple[str, tuple[int, int]], list[Stack]], size: tuple[int, int]
) -> None:
    """Join what has no SeriesInstanceUID with the only series of its size and folder."""
    folders = {path.parent for stack in stacks["", size] for path in stack.paths}
    named = [
        key
        for key, others in stacks.items()
        if key[0]
        and key[1] == size
        and folders & {path.parent for stack in others for path in stack.paths}
    ]
    if len(named) == 1:
        every = stacks[named[0]] + stacks["", size]
        joined = rejoined(every)
        if len(joined) < len(every):
            stacks[named[0]] = joined
            del stacks["", size]


def _in_series(frames: list[Frame]) -> list[Stack]:
    """The stacks among frames of one series and size."""
    references = {text for f in frames if (text := f.file.text("FrameOfReferenceUID"))}
    only = references.pop() if len(references) == 1 else ""
    places: dict[DicomFile, set[tuple[float, ...]]] = {}
    for frame in frames:
        places.setdefault(frame.file, set()).add(frame.position_mm)
    buckets: dict[tuple[str, str, str], list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: not frame.has_geometry):
        file = frame.file
        alone = len(places[file]) > 1 or not frame.has_geometry  # mosaics are never multi-frame
        uid = file.text("ConcatenationUID") or str(file.path)
        own = uid if alone and file.is_multiframe else ""
        key = (file.text("SOPClassUID"), own, file.text("FrameOfReferenceUID") or only)
        for bucket in [key] if frame.has_geometry else _like(key, buckets):
            buckets.setdefault(bucket, []).append(frame)
    stacks = [stack for bucket in buckets.values() for stack in _in_bucket(bucket)]
    return rejoined(stacks) if len(stacks) > 1 else stacks


def _like(
    key: tuple[str, str, str], buckets: Iterable[tuple[str, str, str]]
) -> list[tuple[str, str, str]]:
    """Where an image without a place may be a slice of: any frame of reference."""
    return [bucket for bucket in buckets if bucket[:2] == key[:2]] or [key]


def _in_bucket(frames: list[Frame]) -> list[Stack]:
    """The stacks among frames of one series and size."""
    located = [frame for frame in frames if frame.has_geometry]
    unlocated = [frame for frame in frames if not frame.has_geometry]
    if not located and all(is_2d(frame) for frame in unlocated):
        planar = [_planar(frame) for frame in unlocated]
        return _cine(planar[0]) if is_cine(unlocated[0].file) else planar
    if not located:
        return [Stack(tuple(frames), None, refusal_by_kind(frames) or no_geometry(frames, 0))]
    groups: list[list[Frame]] = []
    for frame in located:
        _group_like(frame, groups).append(frame)
    return [stack for group in groups for stack in _in_group(group, unlocated)]


def _planar(frame: Frame) -> Stack:
    """A stack of one image that has no place in the patient."""
    refusal = refusal_by_kind([frame])
    if refusal:
        return Stack((frame,), None, refusal)
    plane_frame, has_physical_size, notes = as_plane(frame)
    stack = as_stack([plane_frame], notes)
    if stack.grid is None:
        return stack
    return replace(
        stack,
        notes=(*notes, "its depth of 1 mm is assumed"),
        laterality_known=False,
        has_physical_size=has_physical_size,
    )


def _cine(first: Stack) -> list[Stack]:
    """A stack for each frame of a cine, all on the grid of the first; one when it is refused."""
    if first.refusal:
        return [first]
    (frame,) = first.frames
    count = frame.file.count("NumberOfFrames")
    return [
        replace(
            first,
            frames=(replace(frame, number=number - 1),),
            notes=(f"frame {number} of {count} of a cine", *first.notes),
            volume=(number, count),
        )
        for number in range(1, count + 1)
    ]


def _group_like(frame: Frame, groups: list[list[Frame]]) -> list[Frame]:
    """The group whose first frame has this orientation and spacing; a new one if there is none."""
    for group in groups:
        if _are_alike(frame, group[0]):
            return group
    groups.append([])
    return groups[-1]


def _are_alike(first: Frame, second: Frame) -> bool:
    """Whether two frames have one orientation and spacing."""
    rotation = np.subtract(first.orientation, second.orientation)
    scaling = np.subtract(first.pixel_spacing_mm, second.pixel_spacing_mm)
    return bool(
        np.abs(rotation).max() <= _SAME_ORIENTATION and np.abs(scaling).max() <= _SAME_SPACING_MM
    )


def _in_group(frames: list[Frame], unlocated: list[Frame]) -> list[Stack]:
    """The stacks among frames of one orientation and spacing."""
    refusal = refusal_by_kind(frames)
    if unlocated and refusal is None:
        refusal = no_geometry(unlocated, len(frames))
    if refusal:
        return [Stack(tuple(frames), None, refusal)]
    try:
        unique, notes = without_duplicates(frames)
        parts = split(unique)
    except InputError as error:
        return [Stack(tuple(frames), None, error)]
    copies = len(frames) - len(unique)
    return [
        replace(
            as_stack(part.frames, [*notes, *_one_of(len(parts), part)]),
            copies=copies,
            volume=(number, len(parts)),
            split_by=part.split_by,
        )
        for number, part in enumerate(parts, start=1)
    ]


def _one_of(count: int, part: Part) -> list[str]:
    """The note on a volume that is not alone in its series."""
    if count == 1:
        return []
    note = f"its series holds {count} images per position; this is one of them, told apart by"
    return [f"{note} {part.split_by}"]


def rejoined(stacks: list[Stack]) -> list[Stack]:
    """The stacks of a series, those that interleave or continue to one even stack made one.

    A field that differs between them (FrameOfReferenceUID, the file) then did not tell volumes
    apart. Those that would be even but for their pixel spacing or orientation are refused once.
    """
    groups: list[list[Stack]] = []
    for stack in stacks:
        for group in groups:
            if _may_continue(group[0], stack):
                group.append(stack)
                break
        else:
            groups.append([stack])
    joined = [stack for group in groups for stack in _one_or_all(group)]
    return joined if len(joined) < len(stacks) else stacks


def _may_continue(first: Stack, second: Stack) -> bool:
    """Whether two stacks could be parts of one, by their direction."""
    a, b = first.frames[0], second.frames[0]
    located = a.has_geometry and b.has_geometry
    volumes = (first.volume[1], second.volume[1]) == (1, 1)
    return located and volumes and np.abs(np.subtract(a.orientation, b.orientation)).max() < _NEARLY


def _one_or_all(group: list[Stack]) -> list[Stack]:
    """One stack where the group is one even stack, else the group."""
    frames = [frame for stack in group for frame in stack.frames]
    if (
        len(group) == 1
        or len(frames) <= 2
        or (np.diff(np.sort(depths_mm(frames))) <= SAME_POSITION_MM).any()
    ):
        return group
    notes = list(dict.fromkeys(note for stack in group for note in stack.notes))
    whole = as_stack(frames, [note for note in notes if not note.startswith(SINGLE_SLICE)])
    if whole.grid is None:
        lost = whole.refusal is not None and whole.refusal.code == "MISSING_SLICE"
        return [whole] if lost and _interleave(group) else group
    if any(not _are_alike(frames[0], frame) for frame in frames):
        fault = GeometryError(
            f"{len(group)} parts of one series lie between each other as one even stack would, but"
            " their PixelSpacing or ImageOrientationPatient differ; export the series again",
            code="INTERLEAVED",
        )
        return [replace(whole, grid=None, refusal=fault)] if _interleave(group) else group
    return [replace(whole, copies=sum(stack.copies for stack in group))]


def _interleave(group: list[Stack]) -> bool:
    """Whether a slice of one stack lies between slices of another."""
    normal = np.cross(*np.reshape(group[0].frames[0].orientation, (2, 3)))
    spans = sorted(
        (min(depths), max(depths))
        for stack in group
        if (depths := [float(np.dot(f.position_mm, normal)) for f in stack.frames])
    )
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))


def as_stack(frames: list[Frame], notes: list[str]) -> Stack:
    """Sort the frames and place them; what does not fit becomes the refusal."""
    ordered = tuple(frames[index] for index in np.argsort(depths_mm(frames), kind="stable"))
    try:
        grid, grid_notes = grid_of(ordered)
    except GeometryError as error:
        return Stack(ordered, None, error, tuple(notes))
    refusal = disagreement(ordered)
    if refusal:
        return Stack(ordered, None, refusal, tuple(notes))
    every = dict.fromkeys([*notes, *grid_notes, *notes_on(ordered)])
    return Stack(ordered, grid, None, tuple(every))


def _with_selectors(stacks: list[Stack]) -> list[Stack]:
    """Name each stack by its series, and by its place in it when it is not alone there."""
    named, counts = [], dict[str, int]()
    shared = Counter(stack.series_uid for stack in stacks)
    for stack in stacks:
        uid = stack.series_uid
        counts[uid] = counts.get(uid, 0) + 1
        selector = uid if shared[uid] == 1 else f"{uid}#{counts[uid]}"
        named.append(replace(stack, selector=selector))
    return named
