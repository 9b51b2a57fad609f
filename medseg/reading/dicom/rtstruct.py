"""DICOM RT Structure Sets: contours back to a label map on the slices they were drawn on."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, InputError, LabelError, ReadError
from medseg.reading.dicom.headers import as_numbers, as_text, class_uid, find_images
from medseg.reading.dicom.polygons import filled
from medseg.reading.dicom.segment_canvas import SegmentCanvas
from medseg.reading.dicom.segment_labels import first_code, with_unique_names
from medseg.reading.dicom.sop_classes import label_storages
from medseg.reading.dicom.stacks import Stack, stacks_of
from medseg.reading.error_context import in_file
from medseg.reading.segment_selection import EVERYTHING, Overlaps, SegmentSelection
from medseg.runtime.progress import silent
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.conventions import flip_lps_ras_points
from medseg.volume.grid import FloatArray
from medseg.volume.label_table import default_color

if TYPE_CHECKING:
    from pydicom import Dataset

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OFF_SLICE = 0.1  # of the distance between slices


@dataclass(frozen=True, eq=False)
class _Region:
    """A ROI: what it is, its closed contours (N, 3) in RAS+ mm, and in which frame these count."""

    label: Label
    contours: tuple[FloatArray, ...]
    frame_of_reference_uid: str = ""


def recognises(path: Path) -> bool:
    """Whether `path` is a DICOM file of the structure set class."""
    return path.is_file() and label_storages().get(class_uid(path)) == "RTSTRUCT"


def read_labels(path: Path, *, table: LabelTable | None) -> LabelMap:
    """Read a structure set on the image series that lies in its folder or below.

    The form is that of :class:`medseg.reading.protocol.LabelReader`; `path` lies beside the images
    that it refers to, and `table` names the ROIs to read and gives their values. Without it all
    are read, their values being their numbers. The map lies on the grid of the images and has
    their provenance.

    Raises
    ------
    ReadError
        When the file is damaged, or the images are not there.
    GeometryError
        When contours do not lie on slices of the images.
    LabelError
        When ROIs overlap, or the table names one that is not there.

    Notes
    -----
    A pixel belongs to a ROI when its centre is inside an odd number of the ROI's contours on its
    slice, or on one of them; so holes may be contours of their own or keyholes. ROIs may be empty.
    Slices without contours are empty: nothing is made up between slices.
    """
    return read_labels_by_choice(path, table=table, choice=EVERYTHING)


def read_labels_by_choice(
    path: Path, *, table: LabelTable | None, choice: SegmentSelection
) -> LabelMap:
    """Read as :func:`read_labels` does, but only the ROIs that are wanted.

    The form is that of :class:`medseg.reading.protocol.ChoosingLabelReader`; numbers are the values
    that the ROIs have in the map.

    Raises
    ------
    LabelError
        When there is no such ROI; or as :func:`read_labels`.
    """
    with in_file(path):
        dataset, regions, notes = _load(path, table)
        stack = _images(dataset, path.parent)
        if stack.grid is None:
            raise stack.refusal or ReadError("its images have no grid")
        regions, frame_notes = _in_frame_of(stack.provenance(()), regions, choice, table)
        uids = tuple(frame.file.instance_uid for frame in stack.frames)
        values, overlap_notes = _draw(regions, stack.grid, choice.overlaps, cropped=False)
        told = (*notes, *frame_notes, *overlap_notes)
        source = stack.provenance(told, instance_uids=uids)
        return LabelMap(values, stack.grid, _table_of(table, regions), source)


def read_labels_on(
    path: Path,
    *,
    scan: Scan,
    table: LabelTable | None = None,
    choice: SegmentSelection = EVERYTHING,
    cropped: bool = False,
) -> LabelMap:
    """Read a structure set on a scan that is given, whichever files it came from.

    Parameters
    ----------
    path : Path
    scan : Scan
        Its K axis must run across the planes of the contours.
    table : LabelTable, optional
    choice : SegmentSelection, optional
    cropped : bool, default False
        Whether contours beyond the first and last slice are left out, with a note, instead of
        refused.

    Returns
    -------
    LabelMap
        On the scan's grid.

    Raises
    ------
    ReadError, GeometryError, LabelError
        As :func:`read_labels_by_choice`.
    """
    with in_file(path):
        _, regions, notes = _load(path, table)
        provenance = scan.provenance
        regions, frame_notes = _in_frame_of(provenance, regions, choice, table)
        values, overlap_notes = _draw(regions, scan.grid, choice.overlaps, cropped=cropped)
        told = (*provenance.notes, *notes, *frame_notes, *overlap_notes)
        source = dataclasses.replace(provenance, notes=told)
        return LabelMap(values, scan.grid, _table_of(table, regions), source)


def _load(path: Path, table: LabelTable | None) -> tuple[Dataset, list[_Region], tuple[str, ...]]:
    """The file, its regions as far as `table` names them, and notes about open contours."""
    from pydicom import dcmread

    open_ones: Counter[str] = Counter()
    try:
        dataset = dcmread(path, force=True)
        numbers = _numbers(dataset)
        regions = [_region(item, number, dataset, open_ones) for number, item in numbers.items()]
    except InputError:
        raise
    except Exception as error:  # parsers raise of every kind on damaged bytes
        kind = type(error).__name__
        raise ReadError(f"damaged RT Structure Set ({kind}); copy or export it again") from error
    notes = [
        f"{count} contour(s) that enclose nothing ({kind or 'of no kind'}) were left out"
        for kind, count in sorted(open_ones.items())
    ]
    labels = with_unique_names([region.label for region in regions])
    regions = [
        dataclasses.replace(region, label=label)
        for region, label in zip(regions, labels, strict=True)
    ]
    return dataset, _named_in(regions, table), tuple(notes)


def _numbers(dataset: Dataset) -> dict[int, Dataset]:
    """ROIs by the value that stands for them: their number where all numbers can be values."""
    items = list(dataset.StructureSetROISequence)
    numbers = [int(item.ROINumber) for item in items]
    for number, times in Counter(numbers).items():
        if times > 1:
            names = [as_text(item, "ROIName") for item in items if int(item.ROINumber) == number]
            raise LabelError(
                f"the ROI number {number} stands for {' and '.join(names)}, and contours refer to a"
                " number: whose they are is not known; give each ROI a number of its own where it"
                " was drawn, and export it again",
                code="DUPLICATE_ROI",
            )
    usable = all(1 <= number <= 65535 for number in numbers)
    values = numbers if usable else range(1, len(items) + 1)
    return dict(zip(values, items, strict=True))


def _region(item: Dataset, value: int, dataset: Dataset, open_ones: Counter[str]) -> _Region:
    """One ROI with its contours; those that enclose nothing are counted in `open_ones`."""
    number = int(item.ROINumber)
    contour_items = [
        entry
        for entry in dataset.get("ROIContourSequence") or []
        if int(entry.ReferencedROINumber) == number
    ]
    color = next((as_numbers(entry, "ROIDisplayColor", 3) for entry in contour_items), ())
    rings = []
    for contour in (entry for roi in contour_items for entry in roi.get("ContourSequence") or []):
        points = _points(contour)
        kind = as_text(contour, "ContourGeometricType")
        if kind in _CLOSED and len(points) >= 3:
            rings.append(flip_lps_ras_points(points))
        else:
            open_ones[kind] += 1
    label = Label(
        value=value,
        name=as_text(item, "ROIName") or f"ROI {number}",
        color=_color(color, value),
        code=_code(dataset, number),
    )
    return _Region(label, tuple(rings), as_text(item, "ReferencedFrameOfReferenceUID"))


def _points(contour: Dataset) -> FloatArray:
    """Contour Data, LPS+ mm, shape (N, 3); parsed as a whole, there may be millions."""
    stored = contour.get_item("ContourData")
    value: Any = getattr(stored, "value", None) or b""
    if isinstance(value, bytes):
        value = value.decode("ascii").replace("\\", " ").rstrip("\0").split()
    points: FloatArray = np.array(value, np.float64)
    if points.size % 3 or not np.isfinite(points).all():
        raise ReadError("a contour of it is not made of points in space; export it again")
    return points.reshape(-1, 3)


def _color(numbers: tuple[float, ...], value: int) -> tuple[int, int, int]:
    if len(numbers) != 3:
        return default_color(value - 1)
    red, green, blue = (min(255, max(0, int(number))) for number in numbers)
    return red, green, blue


def _code(dataset: Dataset, number: int) -> Code | None:
    """The code of the observation about a ROI, if there is one."""
    for item in dataset.get("RTROIObservationsSequence") or []:
        if as_numbers(item, "ReferencedROINumber") != (number,):
            continue
        if code := first_code(item, "RTROIIdentificationCodeSequence"):
            return code
    return None


def _named_in(regions: list[_Region], table: LabelTable | None) -> list[_Region]:
    """The regions that `table` names, as its labels; all of them without a table."""
    if table is None:
        return regions
    by_name = {region.label.name.strip().casefold(): region for region in regions}
    wanted = {label.name.strip().casefold(): label for label in table}
    missing = [label.name for name, label in wanted.items() if name not in by_name]
    if missing:
        names = ", ".join(region.label.name for region in regions)
        raise LabelError(
            f"it has no ROI {', '.join(missing)}; it has {names}", code="UNKNOWN_LABEL"
        )
    return [dataclasses.replace(by_name[name], label=label) for name, label in wanted.items()]


def _selected(regions: Sequence[_Region], choice: SegmentSelection) -> list[_Region]:
    """The regions that the user selected, in that order."""
    by_value = {region.label.value: region for region in regions}
    numbers = choice.numbers({value: region.label.name for value, region in by_value.items()})
    return [by_value[value] for value in numbers]


def _table_of(table: LabelTable | None, regions: Sequence[_Region]) -> LabelTable:
    """`table`, or that of the regions, in ascending order."""
    labels = (region.label for region in regions)
    return table or LabelTable(tuple(sorted(labels, key=lambda label: label.value)))


def _in_frame_of(
    images: Provenance,
    regions: Sequence[_Region],
    choice: SegmentSelection,
    table: LabelTable | None,
) -> tuple[list[_Region], tuple[str, ...]]:
    """The selected regions whose places count in the frame of reference of the images, with notes.

    Raises
    ------
    LabelError
        Code ``FRAME_OF_REFERENCE``, when a region that was asked for, or all of them, count in
        another one; or when they count in several and the images do not say in which.
    """
    selected = _selected(regions, choice)
    own = images.frame_of_reference_uid
    frames = {region.frame_of_reference_uid for region in regions} - {""}
    if len(frames) <= 1:
        note = (
            "its ROIs are of another frame of reference than the images; they were drawn on these"
            " all the same, as it has no other"
        )
        return selected, (note,) if own and frames - {own} else ()
    wanted = {region.frame_of_reference_uid for region in selected} - {""}
    if not own and len(wanted) > 1:
        raise LabelError(
            "its ROIs are of several frames of reference, and the scan does not say which is its"
            " own; take ROIs of one of them with --segments",
            code="FRAME_OF_REFERENCE",
        )
    known = ("", own) if own else ("", *wanted)
    kept = [region for region in selected if region.frame_of_reference_uid in known]
    others = [r.label.name for r in selected if r.frame_of_reference_uid not in known]
    if not others:
        return kept, ()
    what = f"{', '.join(others)}: of another frame of reference than the images"
    if choice.segments or table is not None or not kept:
        raise LabelError(
            f"{what}, so its places are others; give the scan that it was drawn on",
            code="FRAME_OF_REFERENCE",
        )
    return kept, (f"{what}, and left out",)


def _images(dataset: Dataset, folder: Path) -> Stack:
    """The stack of images in `folder` that the structure set refers to most often."""
    files, _ = find_images(folder, silent)
    uids = _referenced(dataset)
    counts = [
        (sum(frame.file.instance_uid in uids for frame in stack.frames), stack)
        for stack in stacks_of(files)
    ]
    best = max((count for count, _ in counts), default=0)
    if not best:
        raise ReadError(
            "the images that it was drawn on are not in its folder; put it beside them, or give"
            " the scan",
            code="NO_IMAGES",
        )
    return next(stack for count, stack in counts if count == best)


def _referenced(dataset: Dataset) -> set[str]:
    """SOPInstanceUIDs of the images, by any of the places where they may stand."""
    regions = dataset.get("ROIContourSequence") or []
    parents = [contour for region in regions for contour in region.get("ContourSequence") or []]
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            parents += study.get("RTReferencedSeriesSequence") or []
    images = (image for parent in parents for image in parent.get("ContourImageSequence") or [])
    return {as_text(image, "ReferencedSOPInstanceUID") for image in images} - {""}


def _draw(
    regions: Sequence[_Region], grid: Grid, overlaps: Overlaps, *, cropped: bool
) -> tuple[npt.NDArray[Any], list[str]]:
    """Label values (I, J, K) of the regions, and notes about what did not fit."""
    canvas = SegmentCanvas(grid.shape, [region.label for region in regions], overlaps)
    outside = 0
    for region in regions:
        on_slice = defaultdict(list)
        for contour in region.contours:
            index = grid.to_index(contour)
            k = _slice(index)
            if 0 <= k < grid.shape[2]:
                on_slice[k].append(index[:, :2])
            else:
                outside += 1
        for k, rings in on_slice.items():
            first, last = _box(rings, grid.shape[:2])
            inside = filled([ring - first for ring in rings], tuple((last - first).tolist()))
            window = (slice(first[0], last[0]), slice(first[1], last[1]), k)
            canvas.draw(window, inside * np.uint16(region.label.value))
    if outside and not cropped:
        raise GeometryError(
            f"{outside} of its contours lie beyond the first or last slice of the images; add the"
            " slices that are missing",
            code="OUTSIDE_IMAGE",
        )
    values, overlap_notes = canvas.result()
    notes = [f"{outside} contour(s) beyond the scan's slices were left out"] if outside else []
    return values, [*notes, *overlap_notes]


def _box(
    rings: Sequence[FloatArray], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First pixel along I and J, and the one after the last, of what rings can hold of a slice."""
    points = np.concatenate(rings)
    first = np.clip(np.floor(points.min(axis=0)), 0, np.subtract(shape, 1)).astype(np.intp)
    last = np.clip(np.ceil(points.max(axis=0)) + 1, first + 1, shape).astype(np.intp)
    return first, last


def _slice(index: FloatArray) -> int:
    """The K index that all points of a contour share."""
    k = round(float(index[:, 2].mean()))
    distance = float(np.abs(index[:, 2] - k).max())
    if distance > _OFF_SLICE:
        raise GeometryError(
            f"a contour lies {distance:.2f} slices away from the slice nearest to it; give the scan"
            " that it was drawn on",
            code="OFF_SLICE",
        )
    return k
