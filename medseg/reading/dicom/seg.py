"""DICOM Segmentation objects (binary, fractional, label map) back to a label map."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError, ReadError
from medseg.reading.align import align
from medseg.reading.dicom.decoding import stored_frames
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.frames import Frame, frames_of
from medseg.reading.dicom.headers import DicomFile, as_numbers, as_text, class_uid, transfer_syntax
from medseg.reading.dicom.pixel_data import PixelData
from medseg.reading.dicom.seg_grid import grid_of_sparse
from medseg.reading.dicom.seg_volumes import check_one_volume
from medseg.reading.dicom.segment_canvas import SegmentCanvas
from medseg.reading.dicom.segment_labels import first_code, rgb_of_cielab, with_unique_names
from medseg.reading.dicom.sop_classes import label_storages
from medseg.reading.error_context import in_file
from medseg.reading.segment_selection import EVERYTHING, SegmentSelection
from medseg.runtime.progress import Progress, silent
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.conventions import from_kji
from medseg.volume.label_table import default_color

if TYPE_CHECKING:
    from pydicom import Dataset

_PROPERTIES = ("Category", "Type")
_NO_CODE = Code("", "", "")


def recognises(path: Path) -> bool:
    """Whether `path` is a DICOM file of a segmentation class."""
    return path.is_file() and label_storages().get(class_uid(path)) == "SEG"


def read_labels(path: Path, *, table: LabelTable | None) -> LabelMap:
    """Read a segmentation on the slices it stores.

    The form is that of :class:`medseg.reading.protocol.LabelReader`; `path` is a DICOM SEG of type
    BINARY, FRACTIONAL or LABELMAP. The value of a voxel is its segment's number; of medseg's own
    files, the label's value. The grid reaches from the first to the last slice that the file
    stores, which may be fewer than the source series has.

    Raises
    ------
    ReadError
        When the file is damaged.
    GeometryError
        When its frames do not lie on one even stack.
    LabelError
        Code ``OVERLAP``, when segments overlap: one voxel can hold one label only. The pairs are
        listed.
    """
    return read_labels_by_choice(path, table=table, choice=EVERYTHING)


def read_labels_by_choice(
    path: Path,
    *,
    table: LabelTable | None,
    choice: SegmentSelection,
    progress: Progress = silent,
) -> LabelMap:
    """Read as :func:`read_labels` does, but only the segments that are wanted.

    The form is that of :class:`medseg.reading.protocol.ChoosingLabelReader`; numbers are
    the values that the labels have in the label map. The grid is the same, whichever segments are
    taken.

    Raises
    ------
    LabelError
        When there is no such segment; or as :func:`read_labels`.
    """
    with in_file(path):
        return _read(path, table, choice, None, progress)


def read_labels_on(
    path: Path,
    *,
    scan: Scan,
    table: LabelTable | None,
    choice: SegmentSelection,
    progress: Progress = silent,
) -> LabelMap:
    """Read the segments on the scan that was labelled, which says how far apart slices are.

    The form is that of :class:`medseg.reading.protocol.DrawnLabelReader`.

    Raises
    ------
    ReadError, GeometryError, LabelError
        As :func:`read_labels_by_choice`, or when the scan has other voxels.
    """
    with in_file(path):
        return align(_read(path, table, choice, scan.grid, progress), scan)


def _read(
    path: Path,
    table: LabelTable | None,
    choice: SegmentSelection,
    labelled: Grid | None,
    progress: Progress,
) -> LabelMap:
    """The selected segments on their own grid, whose slices are those of a `labelled` one."""
    dataset, labels = _load(path)
    notes = _notes(dataset)
    number_of = {label.value: number for number, label in labels.items()}
    if len(number_of) < len(labels):
        raise LabelError("several of its segments have one of the values; export it again")
    values_selected = choice.numbers({label.value: label.name for label in labels.values()})
    numbers = [number_of[value] for value in values_selected]
    selected = [labels[number] for number in numbers]
    own_table = LabelTable(tuple(sorted(selected, key=lambda label: label.value)))
    value_of = {number: labels[number].value for number in numbers}
    frames = frames_of(DicomFile(path, dataset))
    grid, slices, depth_notes = grid_of_sparse(frames, labelled)
    taken = _taken(dataset, frames, slices, value_of)
    check_one_volume([frame for frame, _ in taken], [where for _, where in taken])
    canvas = SegmentCanvas(grid.shape[::-1], selected, choice.overlaps)
    stored = _stored(dataset, [frame for frame, _ in taken])
    for done, ((frame, (_, k)), pixels) in enumerate(zip(taken, stored, strict=True)):
        progress(done, len(taken), "reading frames")
        canvas.draw(k, _label_values(dataset, frame, pixels, value_of))
    values, overlap_notes = canvas.result()
    source = Provenance(
        "dicom-seg",
        (path,),
        as_text(dataset, "SeriesInstanceUID"),
        notes=(*notes, *depth_notes, *overlap_notes),
        frame_of_reference_uid=as_text(dataset, "FrameOfReferenceUID"),
    )
    return LabelMap(from_kji(values), grid, table or own_table, source)


def _taken(
    dataset: Dataset, frames: Sequence[Frame], slices: Sequence[int], value_of: Mapping[int, int]
) -> list[tuple[Frame, tuple[int, int]]]:
    """The frames of the wanted segments (all of a label map), each with its segment and slice."""
    if as_text(dataset, "SegmentationType") == "LABELMAP":
        return [(frame, (0, k)) for frame, k in zip(frames, slices, strict=True)]
    described = _described(dataset)
    segments = [_segment_number(dataset, frame.number) for frame in frames]
    for frame, number in zip(frames, segments, strict=True):
        if number not in described:
            raise ReadError(
                f"frame {frame.number + 1} is of segment {number}, which it does not describe;"
                " export it again",
                code="DAMAGED",
            )
    rows = zip(frames, segments, slices, strict=True)
    return [(frame, (number, k)) for frame, number, k in rows if number in value_of]


def _described(dataset: Dataset) -> set[int]:
    """Numbers of the segments that the file describes."""
    return {int(item.SegmentNumber) for item in dataset.SegmentSequence}


def _load(path: Path) -> tuple[Dataset, dict[int, Label]]:
    """The file, and the label of each segment by its number; background is left out."""
    try:
        dataset = dataset_of(path)
        numbered = [_label(item) for item in dataset.SegmentSequence]
    except Exception as error:  # parsers raise of every kind on damaged bytes
        kind = type(error).__name__
        raise ReadError(f"damaged DICOM SEG ({kind}); copy or export it again") from error
    labels = dict(numbered)
    if len(labels) < len(numbered):
        raise LabelError("several of its segments have one number; export it again")
    named = with_unique_names(labels.values())
    return dataset, {
        number: label for number, label in zip(labels, named, strict=True) if label.value > 0
    }


def _notes(dataset: Dataset) -> tuple[str, ...]:
    """What becomes of fractions; a `ReadError` for types that are not known."""
    kind = as_text(dataset, "SegmentationType")
    if kind == "FRACTIONAL":
        return ("fractional: a voxel belongs to a segment that fills at least half of it",)
    if kind not in ("BINARY", "LABELMAP"):
        raise ReadError("a DICOM SEG of unknown type; BINARY, FRACTIONAL and LABELMAP can be read")
    return ()


def _label(item: Dataset) -> tuple[int, Label]:
    """Segment number and label of an item of SegmentSequence."""
    number = int(item.SegmentNumber)
    match = re.fullmatch(r"medseg label (\d+)", as_text(item, "TrackingID"))
    value = int(match[1]) if match else number
    name = as_text(item, "SegmentLabel") or f"segment {number}"
    category, type_code = (
        first_code(item, f"SegmentedProperty{part}CodeSequence") or _NO_CODE for part in _PROPERTIES
    )
    return number, Label.coded(
        value, name, _color(item, number), category=category, type_code=type_code
    )


def _color(item: Dataset, number: int) -> tuple[int, int, int]:
    """RGB of the recommended CIELab colour; a default when there is none."""
    stored = as_numbers(item, "RecommendedDisplayCIELabValue", 3)
    if not stored:
        return default_color(number - 1)
    return rgb_of_cielab(stored)


def _stored(dataset: Dataset, frames: Sequence[Frame]) -> Iterator[npt.NDArray[Any]]:
    """Stored pixels of each frame, shape (J, I)."""
    for keyword in ("Rows", "Columns", "BitsAllocated", "PixelData"):
        if not dataset.get(keyword):
            raise ReadError(f"damaged: it has no {keyword}; export it again", code="DAMAGED")
    if int(dataset.get("HighBit", 0)) != int(dataset.get("BitsStored", 1)) - 1:
        raise ReadError("damaged: its HighBit does not fit its BitsStored", code="DAMAGED")
    shape = int(dataset.Rows), int(dataset.Columns)
    syntax = transfer_syntax(dataset)
    if dataset.BitsAllocated == 1 and not syntax.is_encapsulated:
        return (_bits(dataset, frame, shape) for frame in frames)
    source = PixelData(dataset, dataset.PixelData, syntax)
    return (stored for _, stored in stored_frames(((source, item) for item in frames), shape))


def _label_values(
    dataset: Dataset, frame: Frame, stored: npt.NDArray[Any], value_of: dict[int, int]
) -> npt.NDArray[np.uint16]:
    """Label values of a frame, shape (J, I)."""
    kind, lookup = as_text(dataset, "SegmentationType"), np.zeros(65536, np.uint16)
    if kind == "LABELMAP":
        described = np.zeros(65536, bool)
        described[[0, *_described(dataset)]] = True
        if not described[stored].all():
            number = int(stored[~described[stored]][0])
            raise ReadError(
                f"frame {frame.number + 1} holds segment {number}, which it does not describe;"
                " export it again",
                code="DAMAGED",
            )
        lookup[list(value_of)] = list(value_of.values())
    else:
        maximum = as_numbers(dataset, "MaximumFractionalValue", 1) if kind == "FRACTIONAL" else ()
        threshold = math.ceil(maximum[0] / 2) if maximum else 1
        lookup[max(threshold, 1) :] = value_of.get(_segment_number(dataset, frame.number), 0)
    values: npt.NDArray[np.uint16] = lookup[stored]
    return values


def _bits(dataset: Dataset, frame: Frame, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """One-bit pixels of a frame, shape (J, I); frames follow each other without padding.

    References
    ----------
    DICOM PS3.5 8.1.1.
    """
    count = shape[0] * shape[1]
    first = frame.number * count
    if count < 8:
        _check_gapless(dataset, count)
    chunk = np.frombuffer(dataset.PixelData, np.uint8)[first // 8 : -(-(first + count) // 8)]
    bits = np.unpackbits(chunk, bitorder="little")[first % 8 : first % 8 + count]
    if bits.size < count:
        raise ReadError("truncated: pixels are missing; copy or export it again", code="TRUNCATED")
    return bits.reshape(shape)


def _check_gapless(dataset: Dataset, count: int) -> None:
    """Raise `ReadError` when frames of `count` pixels, less than a byte, have a byte each."""
    bits = count * int(dataset.get("NumberOfFrames") or 1)
    if len(dataset.PixelData) > 2 * math.ceil(bits / 16):
        raise ReadError(
            "there is padding between its frames of fewer than 8 pixels, against the standard;"
            " export it again with another program",
            code="DAMAGED",
        )


def _segment_number(dataset: Dataset, frame: int) -> int:
    """Which segment a frame of a binary SEG belongs to."""
    per_frame: Any = dataset.PerFrameFunctionalGroupsSequence[frame]
    groups = (per_frame, *(dataset.get("SharedFunctionalGroupsSequence") or []))
    for group in groups:
        for item in group.get("SegmentIdentificationSequence") or []:
            if item.get("ReferencedSegmentNumber") is not None:
                return int(item.ReferencedSegmentNumber)
    raise ReadError(f"frame {frame + 1} does not say which segment it belongs to")
