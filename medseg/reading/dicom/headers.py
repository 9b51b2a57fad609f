"""DICOM files of a folder and the few header fields that geometry and decoding need.

Only the fields of :mod:`medseg.reading.dicom.header_fields` are parsed, and those that a caller
names. Those about the patient are compared between slices and never shown.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import ReadError
from medseg.reading.dicom.file import GuardedFile, quiet_pydicom
from medseg.reading.dicom.header_fields import FIELDS, MARKS, PIXEL_FIELDS, PRIVATE_TAGS
from medseg.reading.dicom.header_values import (
    as_items,
    as_numbers,
    as_text,
    as_whole,
    sanitized,
    shown,
    tags_of,
)
from medseg.reading.dicom.pixel_element import PixelElement, complete
from medseg.reading.dicom.sop_classes import non_scans
from medseg.runtime.progress import Progress

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "EMPTY",
    "MARKS",
    "PIXEL_FIELDS",
    "DicomFile",
    "as_items",
    "as_numbers",
    "as_text",
    "class_uid",
    "find_images",
    "not_a_scan",
    "read_header",
    "read_image",
    "sanitized",
    "sniff",
    "transfer_syntax",
]

EMPTY = "EMPTY"
"""Code of files that have a DICOM name and nothing in them."""

_DICOM_ROOT = "1.2.840.10008."
_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # group 0008 or 0002, when there is no preamble
_FIRST_BYTES = 8
_CLASS_TAG = 0x0008_0016
_FIRST_ELEMENT = re.compile(
    rb"\x08\0[\0\x01\x05\x08\x12-\x18]\0(?:UL|CS|UI|DA|TM|IS|SH|LO|[\0-\xff]\0\0\0)", re.DOTALL
)
"""A file without preamble that begins as every DICOM data set does; others are guessed at."""


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file that holds an image, with its header (no pixels, no patient text).

    Parameters
    ----------
    path : Path
    header : pydicom.Dataset
        Fields of :mod:`medseg.reading.dicom.header_fields`.
    pixels_at : int
        Where, in bytes from the start, the element with the pixels begins; 0 when unknown.
    size : int
        Bytes of the file; 0 when unknown.
    element : PixelElement
        What its pixels are by their own bytes.
    assumed : tuple of str
        Fields of the pixels that the file lacks and that could be filled in.
    """

    path: Path
    header: Dataset
    pixels_at: int = 0
    size: int = 0
    element: PixelElement = field(default_factory=PixelElement)
    assumed: tuple[str, ...] = ()

    def text(self, keyword: str) -> str:
        """A header field as text; empty when absent."""
        return as_text(self.header, keyword)

    def count(self, keyword: str, default: int = 0) -> int:
        """A header field as a whole number."""
        number = as_whole(self.header, keyword)
        return default if number is None else number

    @functools.cached_property
    def series_uid(self) -> str:
        """SeriesInstanceUID, empty when blank; safe to show and to compare."""
        return sanitized(self.text("SeriesInstanceUID"))

    @functools.cached_property
    def instance_uid(self) -> str:
        """SOPInstanceUID, empty when blank; safe as well."""
        return sanitized(self.text("SOPInstanceUID"))

    @functools.cached_property
    def modality(self) -> str:
        """DICOM modality word."""
        return sanitized(self.text("Modality"))

    @functools.cached_property
    def transfer_syntax(self) -> Any:
        """How the pixels are encoded by their own bytes, else by what the file says."""
        return self.element.transfer_syntax(transfer_syntax(self.header))

    @property
    def is_multiframe(self) -> bool:
        """Whether geometry stands in functional groups, or several frames in one file."""
        return self.count("NumberOfFrames", 1) > 1 or (
            "PerFrameFunctionalGroupsSequence" in self.header
        )


def transfer_syntax(header: Dataset) -> Any:
    """Transfer syntax of the file; guessed from how it was parsed when it does not say."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    stated = as_text(header.file_meta, "TransferSyntaxUID") if header.file_meta else ""
    if stated:
        return _uid(stated)
    implicit, little = header.original_encoding
    if little:
        return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return ExplicitVRBigEndian


@functools.lru_cache(maxsize=256)
def _uid(text: str) -> Any:
    """`text` as a UID; making one takes longer than all the rest of a header."""
    from pydicom.uid import UID

    return UID(text)


def find_images(
    folder: Path,
    progress: Progress,
    on_image: Callable[[DicomFile], None] = lambda _: None,
    *,
    extra_fields: tuple[str, ...] = (),
) -> tuple[list[DicomFile], dict[Path, ReadError]]:
    """Every DICOM image below `folder`, nested or not, whatever the files are called.

    Parameters
    ----------
    folder : Path
        Where to look; each file's header is read once.
    progress : Progress
    on_image : callable, optional
        Called with each image as soon as its header is read.
    extra_fields : tuple of str, optional
        Further fields to read, by keyword.

    Returns
    -------
    images : list of DicomFile
        In the order of their paths.
    faults : dict of Path to ReadError
        Files that are DICOM but damaged; passing over one could lose a slice.
    """
    paths = sorted(_files_below(folder))
    images, faults = [], {}
    for done, path in enumerate(paths, start=1):
        try:
            image = read_header(path, extra_fields)
        except ReadError as error:
            faults[path] = error
        else:
            if image and not_a_scan(image) is None:
                images.append(image)
                on_image(image)
        progress(done, len(paths), "reading headers")
    return images, faults


def read_image(path: Path, extra_fields: tuple[str, ...] = ()) -> DicomFile:
    """The header of one file that must be a DICOM image.

    Raises
    ------
    ReadError
        When it is not DICOM, holds no image or is damaged.
    """
    image = read_header(path, extra_fields)
    other = not_a_scan(image) if image else "not a DICOM image"
    if image is None or other:
        raise ReadError(f"{path.name} is {other}, not a scan; give the scan", code="NOT_A_SCAN")
    return image


def read_header(path: Path, extra_fields: tuple[str, ...] = ()) -> DicomFile | None:
    """The header of `path`; None when it is not DICOM or says it holds no image.

    Raises
    ------
    ReadError
        When it is DICOM but damaged.
    """
    from pydicom import dcmread

    quiet_pydicom()
    kind = sniff(path)
    if kind == "stub":
        raise ReadError(
            f"{path.name} is empty or cut short; copy or export it again, or move it away",
            code=EMPTY,
        )
    if not kind:
        return None
    try:
        with GuardedFile(path) as file:
            tags = tags_of((*FIELDS, *PRIVATE_TAGS, *extra_fields))
            header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
            pixels_at, element = file.tell(), PixelElement.read(file)
            image = DicomFile(
                path, header, pixels_at, file.size, element, complete(header, element)
            )
    except ReadError as error:
        raise ReadError(f"{path.name} is {error}", code=error.code) from error
    except Exception as error:  # parsers raise of every kind on damaged bytes
        if kind == "guess":
            return None
        raise _damaged(path, type(error).__name__) from error
    if image.count("Rows") > 0 and image.count("Columns") > 0:
        return image
    class_uid = _stated_class(image)
    if kind == "dicom" and _should_have_image(class_uid):
        raise _damaged(path, _without_size(image))
    return image if class_uid in non_scans() else None  # kept when worth naming to the user


def _without_size(image: DicomFile) -> str:
    """What is wrong with a header that has no size: its fields, or that it was cut."""
    if not image.element.keyword:
        return "the header ends before the image"
    for keyword in ("Rows", "Columns"):
        if image.count(keyword) <= 0 and (text := shown(image.header, keyword)):
            return f"its {keyword} is {text}"
    return "Rows or Columns are missing"


def _stated_class(image: DicomFile) -> str:
    """SOP class by the header, or by the file's first group, which a cut leaves in place."""
    meta = getattr(image.header, "file_meta", None)
    first = as_text(meta, "MediaStorageSOPClassUID") if meta is not None else ""
    return image.text("SOPClassUID") or first


def sniff(path: Path) -> str:
    """What a file's first bytes say.

    Returns
    -------
    str
        ``"dicom"``, ``"guess"`` (it may be DICOM without preamble), ``"stub"`` (a name as DICOM
        files have and nothing but zeros or a few bytes, as a broken copy leaves behind), or empty.

    Raises
    ------
    ReadError
        When the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise ReadError(f"{path.name} cannot be opened: {reason}") from error
    if start[128:] == b"DICM":
        return "dicom"
    is_remnant = len(start) < _FIRST_BYTES and start[:1] in (b"\x08", b"\x02")
    if is_remnant or (len(start) < 132 and not start[:128].strip(b"\0")):
        return "stub" if _is_dicom_name(path) else ""
    if start[:2] not in _STARTS:
        return ""
    return "dicom" if _FIRST_ELEMENT.match(start) else "guess"


def class_uid(path: Path) -> str:
    """SOPClassUID of a DICOM file; empty when it has none or is not DICOM.

    Nothing after it is parsed: headers of enhanced files take seconds.
    """
    from pydicom.filereader import read_partial

    if sniff(path) == "stub":
        read_header(path)
    if sniff(path) not in ("dicom", "guess"):
        return ""
    quiet_pydicom()
    try:
        with GuardedFile(path) as file:
            header = read_partial(file, stop_when=_is_past_class, force=True)
    except Exception as error:  # parsers raise of every kind on damaged bytes
        raise _damaged(path, type(error).__name__) from error
    return as_text(header, "SOPClassUID")


def _is_past_class(tag: int, _vr: str | None, _length: int) -> bool:
    return tag > _CLASS_TAG


def not_a_scan(image: DicomFile) -> str | None:
    """What the object is when it holds pixels (or contours) but no scan."""
    return non_scans().get(image.text("SOPClassUID"))


def _is_dicom_name(path: Path) -> bool:
    """Whether files of this ending are DICOM more often than not."""
    ending = path.suffix.lower().removeprefix(".")
    return ending in ("", "dcm", "dicom", "ima") or ending.isdigit()


def _should_have_image(uid: str) -> bool:
    """Whether an object of this SOP class holds an image, or its class was cut off."""
    from pydicom.uid import UID

    standard = uid.startswith(_DICOM_ROOT) or _DICOM_ROOT.startswith(uid)
    return not uid or "Image Storage" in UID(uid).name or (standard and UID(uid).name == uid)


def _damaged(path: Path, why: str) -> ReadError:
    return ReadError(
        f"{path.name} is a damaged DICOM file ({why}); copy or export it again, or move it away",
        code="DAMAGED",
    )


def _files_below(folder: Path) -> Iterator[Path]:
    """Files at any depth, without hidden ones and without DICOMDIR (an index, not an image)."""
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                yield Path(base, name)
