"""DICOM RT Structure Sets: contours back to a label map on the slices they were drawn on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import Cancelled, InputError, LabelError, ReadError
from medseg.reading.dicom.contours import Region, drawn
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.headers import as_numbers, as_text, class_uid, find_images
from medseg.reading.dicom.segment_labels import first_code, with_unique_names
from medseg.reading.dicom.sop_classes import label_storages
from medseg.reading.dicom.stacks import Stack, stacks_of
from medseg.reading.error_context import in_file
from medseg.reading.segment_selection import EVERYTHING, SegmentSelection
from medseg.runtime.progress import Progress, silent
from medseg.volume import Code, Label, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.conventions import flip_lps_ras_points
from medseg.volume.grid import FloatArray
from medseg.volume.label_table import default_color

if TYPE_CHECKING:
    from pydicom import Dataset

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


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
    path: Path,
    *,
    table: LabelTable | None,
    choice: SegmentSelection,
    progress: Progress = silent,
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
        dataset, regions, notes = _load(path, table, progress)
        stack = _images(dataset, path.parent, progress)
        if stack.grid is None:
            raise stack.refusal or ReadError("its images have no grid")
        regions, frame_notes = _in_frame_of(
            stack.provenance(()), regions, choice, table, is_drawn_on=True
        )
        uids = tuple(frame.file.instance_uid for frame in stack.frames)
        values, overlap_notes = drawn(regions, stack.grid, choice.overlaps, progress=progress)
        all_notes = (*notes, *frame_notes, *overlap_notes)
        source = stack.provenance(all_notes, instance_uids=uids)
        return LabelMap(values, stack.grid, _table_of(table, regions), source)


def read_labels_on(
    path: Path,
    *,
    scan: Scan,
    table: LabelTable | None = None,
    choice: SegmentSelection = EVERYTHING,
    cropped: bool = False,
    progress: Progress = silent,
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
    progress : Progress, optional

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
        dataset, regions, notes = _load(path, table, progress)
        provenance = scan.provenance
        refers = not _referenced(dataset).isdisjoint(provenance.instance_uids)
        regions, frame_notes = _in_frame_of(provenance, regions, choice, table, is_drawn_on=refers)
        values, overlap_notes = drawn(
            regions, scan.grid, choice.overlaps, cropped=cropped, progress=progress
        )
        all_notes = (*provenance.notes, *notes, *frame_notes, *overlap_notes)
        source = dataclasses.replace(provenance, notes=all_notes)
        return LabelMap(values, scan.grid, _table_of(table, regions), source)


def _load(
    path: Path, table: LabelTable | None, progress: Progress
) -> tuple[Dataset, list[Region], tuple[str, ...]]:
    """The file, its regions as far as `table` names them, and notes about open contours."""
    open_ones: Counter[str] = Counter()
    try:
        dataset = dataset_of(path, force=True)
        numbers = _numbers(dataset)
        regions: list[Region] = []
        for number, item in numbers.items():
            progress(len(regions), len(numbers), "reading contours")
            regions.append(_region(item, number, dataset, open_ones))
    except (InputError, Cancelled):
        raise
    except Exception as error:  # parsers raise of every kind on damaged bytes
        kind = type(error).__name__
        raise ReadError(f"damaged RT Structure Set ({kind}); copy or export it again") from error
    notes = [
        f"{count} contour(s) that enclose nothing ({kind or 'of no kind'}) were left out"
        for kind, count in sorted(open_ones.items())
    ]
    if empty := [region.label.name for region in regions if not region.contours]:
        notes.append(f"without closed contours: {', '.join(empty)}")
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
    for drawn_roi in dataset.get("ROIContourSequence") or []:
        number = int(drawn_roi.ReferencedROINumber)
        if number not in numbers and drawn_roi.get("ContourSequence"):
            raise LabelError(
                f"it has contours of ROI number {number}, and no ROI of this number; export it"
                " again",
                code="UNKNOWN_ROI",
            )
    usable = all(1 <= number <= 65535 for number in numbers)
    values = numbers if usable else range(1, len(items) + 1)
    return dict(zip(values, items, strict=True))


def _region(item: Dataset, value: int, dataset: Dataset, open_ones: Counter[str]) -> Region:
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
    return Region(label, tuple(rings), as_text(item, "ReferencedFrameOfReferenceUID"))


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


def _named_in(regions: list[Region], table: LabelTable | None) -> list[Region]:
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


def _selected(regions: Sequence[Region], choice: SegmentSelection) -> list[Region]:
    """The regions that the user selected, in that order."""
    by_value = {region.label.value: region for region in regions}
    numbers = choice.numbers({value: region.label.name for value, region in by_value.items()})
    return [by_value[value] for value in numbers]


def _table_of(table: LabelTable | None, regions: Sequence[Region]) -> LabelTable:
    """`table`, or that of the regions, in ascending order."""
    labels = (region.label for region in regions)
    return table or LabelTable(tuple(sorted(labels, key=lambda label: label.value)))


def _in_frame_of(
    images: Provenance,
    regions: Sequence[Region],
    choice: SegmentSelection,
    table: LabelTable | None,
    *,
    is_drawn_on: bool,
) -> tuple[list[Region], tuple[str, ...]]:
    """The selected regions whose places count in the frame of reference of the images, with notes.

    `is_drawn_on` says whether the file refers to these images.

    Raises
    ------
    LabelError
        Code ``FRAME_OF_REFERENCE``, when a region that was asked for, or all of them, count in
        another one; or when they count in several and the images do not say in which.
    """
    selected = _selected(regions, choice)
    own = images.frame_of_reference_uid
    frames = {region.frame_of_reference_uid for region in regions} - {""}
    if len(frames) <= 1 and not (own and frames - {own}):
        return selected, ()
    if len(frames) <= 1:
        differ = "its ROIs are of another frame of reference than the images"
        if is_drawn_on:
            return selected, (f"{differ}; they count in that of the images, to which it refers",)
        raise LabelError(
            f"{differ}, to which it does not refer; give the scan that it was drawn on",
            code="FRAME_OF_REFERENCE",
        )
    wanted = {region.frame_of_reference_uid for region in selected} - {""}
    if not own and len(wanted) > 1:
        raise LabelError(
            "its ROIs are of several frames of reference, and the scan does not say which is its"
            " own; take ROIs of one of them with --segments",
            code="FRAME_OF_REFERENCE",
        )
    usable = ("", own) if own else ("", *wanted)
    kept = [region for region in selected if region.frame_of_reference_uid in usable]
    others = [r.label.name for r in selected if r.frame_of_reference_uid not in usable]
    if not others:
        return kept, ()
    what = f"{', '.join(others)}: of another frame of reference than the images"
    if choice.segments or table is not None or not kept:
        raise LabelError(
            f"{what}, so its places are others; give the scan that it was drawn on",
            code="FRAME_OF_REFERENCE",
        )
    return kept, (f"{what}, and left out",)


def _images(dataset: Dataset, folder: Path, progress: Progress) -> Stack:
    """The stack of images in `folder` that the structure set refers to most often."""
    files, _ = find_images(folder, progress)
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
