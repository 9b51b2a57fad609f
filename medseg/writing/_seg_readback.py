"""Read a DICOM SEG back, frame by frame, with pydicom alone, and compare it with the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import WriteError
from medseg.volume import Grid
from medseg.volume.conventions import affine_from_dicom, dicom_from_affine, from_kji
from medseg.writing._native_labels import NativeLabels
from medseg.writing._selfcheck import check_read_back

if TYPE_CHECKING:
    from pydicom import Dataset

_TOLERANCE_MM = 0.1


def check_segmentation(path: Path, labels: NativeLabels, values: Sequence[int]) -> None:
    """Raise `WriteError` (``SELF_CHECK``) unless the file holds the labels at their places.

    Every frame is put where its own plane position says, and must refer to the source slice that
    lies there.

    Parameters
    ----------
    path : Path
        A DICOM SEG, binary or a label map.
    labels : NativeLabels
        What it was made from.
    values : sequence of int
        The label value of segment 1, 2, 3...
    """
    from pydicom import dcmread

    dataset = dcmread(path)
    columns, rows, slices = labels.values.shape
    voxels = np.zeros((slices, rows, columns), labels.values.dtype)
    value_of = np.array([0, *values], labels.values.dtype)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        k = _slice_of(frame, dataset, labels)
        if dataset.SegmentationType == "LABELMAP":
            voxels[k] = value_of[_numbers(dataset, number)]
            continue
        segment = _segment_of(frame, dataset)
        voxels[k][_bits(dataset.PixelData, number, rows, columns)] = value_of[segment]
    first = labels.slices.grids[0]
    position = dicom_from_affine(first.affine)[2]
    check_read_back(labels.values, from_kji(voxels), first, _affine(dataset, position, first))


def _segment_of(frame: Dataset, dataset: Dataset) -> int:
    """Segment number of a frame; what all frames share stands once, in the shared groups."""
    groups = (frame, dataset.SharedFunctionalGroupsSequence[0])
    owner = next(group for group in groups if "SegmentIdentificationSequence" in group)
    return int(owner.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _slice_of(frame: Dataset, dataset: Dataset, labels: NativeLabels) -> int:
    """Number of the slice at a frame's position, which the frame must refer to."""
    position, slices = frame.PlanePositionSequence[0].ImagePositionPatient, labels.slices
    affine = _affine(dataset, position, slices.grids[0])
    k = slices.nearest(affine[:3, 3])
    grid = slices.grids[k]
    if not grid.same_as(Grid(grid.shape, affine), tolerance_mm=_TOLERANCE_MM) or not _refers_to(
        frame, slices.instance_uids[k]
    ):
        raise WriteError(
            "a frame of the DICOM SEG came back at another place or slice, so the file was"
            " removed; write .nii.gz instead",
            code="SELF_CHECK",
        )
    return k


def _refers_to(frame: Dataset, uid: str) -> bool:
    """Whether the frame's source images, where it names any, include the one with `uid`."""
    sources = [
        str(image.ReferencedSOPInstanceUID)
        for derivation in frame.get("DerivationImageSequence") or []
        for image in derivation.get("SourceImageSequence") or []
    ]
    return not sources or uid in sources


def _bits(packed: bytes, number: int, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Frame `number` of one-bit pixels, which are packed without gaps; shape (J, I)."""
    count = rows * columns
    first = number * count
    chunk = np.frombuffer(packed, np.uint8)[first // 8 : -(-(first + count) // 8)]
    bits = np.unpackbits(chunk, bitorder="little")[first % 8 : first % 8 + count]
    return bits.reshape(rows, columns).astype(bool)


def _numbers(dataset: Dataset, number: int) -> npt.NDArray[Any]:
    """Segment numbers of frame `number` of a label map; shape (J, I)."""
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    pixels: npt.NDArray[Any]
    pixels, _ = decoder.as_array(dataset, index=number, raw=True, decoding_plugin="pylibjpeg")
    return pixels


def _affine(dataset: Dataset, position: npt.ArrayLike, like: Grid) -> npt.NDArray[Any]:
    """A slice at `position` (LPS+ mm) with the file's own in-plane axes, as deep as `like`."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    return affine_from_dicom(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient,
        shared.PixelMeasuresSequence[0].PixelSpacing,
        position,
        dicom_from_affine(like.affine)[3],
    )
