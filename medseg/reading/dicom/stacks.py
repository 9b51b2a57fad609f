"""Stacks: frames that belong to one volume, and why a stack cannot be read where it cannot."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError, InputError
from medseg.reading.dicom.duplicates import without_duplicates
from medseg.reading.dicom.frames import Frame, frames_of
from medseg.reading.dicom.geometry import SAME_POSITION_MM, depths_mm, grid_of
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.planar import as_plane, is_2d, is_cine
from medseg.volume import Grid, NativeSlices, Provenance

_SAME_ORIENTATION = 1e-3
_SAME_SPACING_MM = 1e-4

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

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""
        return self.frames[0].file.series_uid

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
        )

    def describe(self) -> str:
        """One line for a person: selector, modality, size, spacing, slices; no patient text."""
        file = self.frames[0].file
        size = f"{file.count('Columns')} x {file.count('Rows')}"
        location = f"cannot be read: {self.refusal.code}" if self.refusal else ""
        if self.grid is not None:
            location = " x ".join(f"{mm:.3g}" for mm in self.grid.spacing_mm) + " mm"
        uid = self.selector or "(no UID)"
        kind = self.modality or "?"
        return f"{uid}  {kind}  {size}  {len(self.frames)} slice(s)  {location}"


def stacks_of(files: Sequence[DicomFile]) -> list[Stack]:
    """Group files into stacks, in the order in which their first files come.

    Notes
    -----
    Frames of one stack share SeriesInstanceUID, SOPClassUID, FrameOfReferenceUID, Rows, Columns,
    orientation (within 1e-3) and PixelSpacing (within 1e-4 mm); a multi-frame file is on its own.
    Each frame of a cine is a stack.
    """
    buckets: dict[tuple[str, ...], list[Frame]] = {}
    for file in files:
        buckets.setdefault(_bucket(file), []).extend(frames_of(file))
    return _with_selectors([stack for bucket in buckets.values() for stack in _in_bucket(bucket)])


def _bucket(file: DicomFile) -> tuple[str, ...]:
    """What must be equal, letter by letter, in one stack."""
    keys = ("SeriesInstanceUID", "SOPClassUID", "FrameOfReferenceUID", "Rows", "Columns")
    own_path = str(file.path) if file.is_multiframe else ""
    return (*(file.text(key) for key in keys), own_path)


def _in_bucket(frames: list[Frame]) -> list[Stack]:
    """The stacks among frames of one series and size."""
    located = [frame for frame in frames if frame.has_geometry]
    unlocated = [frame for frame in frames if not frame.has_geometry]
    if not located and all(is_2d(frame) for frame in unlocated):
        planar = [_planar(frame) for frame in unlocated]
        return _cine(planar[0]) if is_cine(unlocated[0].file) else planar
    if not located:
        return [Stack(tuple(frames), None, _refusal_by_kind(frames) or _no_geometry(frames, 0))]
    groups: list[list[Frame]] = []
    for frame in located:
        _group_like(frame, groups).append(frame)
    return [stack for group in groups for stack in _in_group(group, unlocated)]


def _planar(frame: Frame) -> Stack:
    """A stack of one image that has no place in the patient."""
    refusal = _refusal_by_kind([frame])
    if refusal:
        return Stack((frame,), None, refusal)
    plane_frame, has_physical_size, notes = as_plane(frame)
    stack = _as_stack([plane_frame], notes)
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
        rotation = np.subtract(frame.orientation, group[0].orientation)
        scaling = np.subtract(frame.pixel_spacing_mm, group[0].pixel_spacing_mm)
        if (
            np.abs(rotation).max() <= _SAME_ORIENTATION
            and np.abs(scaling).max() <= _SAME_SPACING_MM
        ):
            return group
    groups.append([])
    return groups[-1]


def _in_group(frames: list[Frame], unlocated: list[Frame]) -> list[Stack]:
    """The stacks among frames of one orientation and spacing."""
    refusal = _refusal_by_kind(frames)
    if unlocated and refusal is None:
        refusal = _no_geometry(unlocated, len(frames))
    if refusal:
        return [Stack(tuple(frames), None, refusal)]
    try:
        unique, notes = without_duplicates(frames)
        parts = _split(unique)
    except InputError as error:
        return [Stack(tuple(frames), None, error)]
    if len(parts) > 1:
        notes = [*notes, f"its series holds {len(parts)} images per position; this is one of them"]
    copies = len(frames) - len(unique)
    return [
        replace(_as_stack(part, notes), copies=copies, volume=(number, len(parts)))
        for number, part in enumerate(parts, start=1)
    ]


def _as_stack(frames: list[Frame], notes: list[str]) -> Stack:
    """Sort the frames and place them; what does not fit becomes the refusal."""
    ordered = tuple(frames[index] for index in np.argsort(depths_mm(frames), kind="stable"))
    try:
        grid, grid_notes = grid_of(ordered)
    except GeometryError as error:
        return Stack(ordered, None, error)
    return Stack(ordered, grid, None, (*notes, *grid_notes))


def _split(frames: list[Frame]) -> list[list[Frame]]:
    """Parts with one image per position, told apart by one header field or a pair of them.

    Raises
    ------
    GeometryError
        Code ``AMBIGUOUS_4D`` when no field tells the images apart.
    """
    positions = _position_numbers(frames)
    depth = int(np.bincount(positions).max())
    if depth == 1:
        return [frames]
    marks = [mark for mark in frames[0].marks if len({f.marks.get(mark) for f in frames}) > 1]
    for keys in itertools.chain(itertools.combinations(marks, 1), itertools.combinations(marks, 2)):
        parts = _parts(frames, positions, keys)
        if len(parts) == depth and all(len(set(taken)) == len(taken) for taken, _ in parts):
            return [part for _, part in parts]
    raise GeometryError(
        f"the series holds up to {depth} images at one position and no header field tells them"
        " apart; export the volumes (phases, echoes) as separate series",
        code="AMBIGUOUS_4D",
    )


def _parts(
    frames: list[Frame], positions: Iterable[int], keys: tuple[str, ...]
) -> list[tuple[list[int], list[Frame]]]:
    """Places and frames for each value of the fields `keys`, in the order of the values."""
    parts: dict[tuple[str, ...], tuple[list[int], list[Frame]]] = {}
    for position, frame in zip(positions, frames, strict=True):
        value = tuple(frame.marks.get(key, "") for key in keys)
        taken, part = parts.setdefault(value, ([], []))
        taken.append(position)
        part.append(frame)
    return [parts[value] for value in sorted(parts, key=_numbers_first)]


def _numbers_first(value: tuple[str, ...]) -> list[tuple[float, str]]:
    """Sort key: numbers by size, then text."""
    return [(float(text) if _is_number(text) else float("inf"), text) for text in value]


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def _position_numbers(frames: list[Frame]) -> list[int]:
    """The number of each frame's position along the normal, counted from 0."""
    depths = depths_mm(frames)
    order = np.argsort(depths, kind="stable")
    steps = np.diff(depths[order], prepend=depths[order[0]]) > SAME_POSITION_MM
    numbers = np.empty(len(frames), np.intp)
    numbers[order] = np.cumsum(steps)
    return [int(number) for number in numbers]


def _refusal_by_kind(frames: list[Frame]) -> InputError | None:
    """Why images of this kind are not read, if they are not."""
    file, name = frames[0].file, frames[0].file.path.name
    if "MOSAIC" in file.text("ImageType").upper().split("\\"):
        return GeometryError(
            f"{name} is a Siemens mosaic (many slices tiled in one image), which is not read;"
            " convert it with dcm2niix and give the NIfTI file",
            code="MOSAIC",
        )
    if file.text("PhotometricInterpretation") == "PALETTE COLOR" or _is_screenshot(frames[0]):
        return InputError(
            f"{name} is a colour picture, not a scan; give a series of grey images",
            code="COLOUR",
        )
    located = any(frame.has_geometry for frame in frames)
    if file.is_multiframe and not located and not is_cine(file):
        return GeometryError(
            f"{name} holds {file.count('NumberOfFrames', 1)} frames but does not say where each"
            " lies (no complete functional groups); export it as single slices",
            code="NO_FUNCTIONAL_GROUPS",
        )
    return None


def _is_screenshot(frame: Frame) -> bool:
    """Whether it is in colour and neither lies in the patient nor is of a 2-D kind."""
    coloured = frame.file.count("SamplesPerPixel", 1) > 1
    return coloured and not frame.has_geometry and not is_2d(frame)


def _no_geometry(unlocated: list[Frame], others: int) -> GeometryError:
    """For frames without position, orientation or spacing, beside `others` that have them."""
    name = unlocated[0].file.path.name
    if others:
        return GeometryError(
            f"{name} has no complete position in the patient, {others} other slices of its series"
            " have; export the series again",
            code="INCOMPLETE_GEOMETRY",
        )
    return GeometryError(
        f"{name} has no position in the patient (ImagePositionPatient, ImageOrientationPatient,"
        " PixelSpacing), so its voxels cannot be placed; give an image that has them",
        code="NO_GEOMETRY",
    )


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
