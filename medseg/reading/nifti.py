"""NIfTI-1 and NIfTI-2, plain or gzipped: the affine is kept bit for bit."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.errors import ReadError, reason
from medseg.reading._silence import silence
from medseg.reading.error_context import in_file
from medseg.reading.limits import (
    check_growth,
    completed,
    float32_unless_integer,
    single_channel,
)
from medseg.runtime.progress import Progress
from medseg.volume import Grid, Label, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.grid import CORNERS
from medseg.volume.label_map import as_label_values

_COMMENT = 6  # ecode of a NIfTI header extension that holds text
_DISAGREEMENT_MM = 0.1
_TIME_UNITS = 0x38  # bits of xyzt_units
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
_LENGTHS = {1: ("metres", 1000.0), 3: ("micrometres", 1e-3)}
_XFORM_CODES = range(6)
_NO_SPACING = "the header does not give the spacing of every axis; 1 mm is assumed for it"
_LENGTH_UNITS = 0x07  # bits of xyzt_units
_GZIP = b"\x1f\x8b"
_OF_TIME = (0, 2001)  # no intent, and NIFTI_INTENT_TIME_SERIES


class _Names(msgspec.Struct):
    """The JSON in a header extension that medseg's writer puts names of labels or channels into."""

    medseg_labels: tuple[Label, ...] = ()
    medseg_channels: tuple[str, ...] = ()


def recognises(path: Path) -> bool:
    """Whether `path` is called .nii or .nii.gz."""
    return path.is_file() and path.name.lower().endswith((".nii", ".nii.gz"))


def read(path: Path, *, series: str | None, progress: Progress) -> Scan:
    """Read a scan; a fourth axis (time or channels) becomes the channels.

    The file cannot say which of the two it is: it is taken as time where the header gives both a
    unit of time and a step that is not 0.

    The form is that of :class:`medseg.reading.protocol.ScanReader`. Voxels (C, I, J, K) are
    integers when the header asks for no scaling, else float32; the affine is the sform's where it
    is set, else the qform's.
    """
    image, raw, assumed = _load(path)
    with in_file(path):
        voxels, notes = _channels_first(raw)
        notes += assumed
        voxels = _scaled(voxels, image.dataobj.slope, image.dataobj.inter)
        grid = Grid(voxels.shape[1:], affine_mm(image.header))
        scan = Scan(
            voxels,
            grid,
            provenance=_provenance(path, image.header, grid, notes),
            time_step_s=time_step_s(image.header),
            channel_names=_stored_names(image.header).medseg_channels,
        )
    progress(1, 1, f"read {path.name}")
    return scan


def read_labels(path: Path, *, table: LabelTable | None) -> LabelMap:
    """Read a label map; names come from `table`, else from medseg's header extension.

    The form is that of :class:`medseg.reading.protocol.LabelReader`.
    """
    image, raw, assumed = _load(path)
    with in_file(path):
        voxels, notes = _channels_first(raw)
        notes += assumed
        slope, inter = image.dataobj.slope, image.dataobj.inter
        values = as_label_values(single_channel(_scaled(voxels, slope, inter)))
        grid = Grid(values.shape, affine_mm(image.header))
        label_table = table or completed(_stored_names(image.header).medseg_labels, values)
        return LabelMap(values, grid, label_table, _provenance(path, image.header, grid, notes))


def time_step_s(header: Any) -> float:
    """Seconds between the volumes along the fourth axis, when that is an axis of time.

    Returns
    -------
    float
        0 for channels: without a fourth axis, with a fifth one, with an intent other than a series
        of time, without a unit of time, or with a step that is 0 or not finite.
    """
    sizes = [*(int(size) for size in header.get_data_shape()[3:]), 1]
    intent = int(header["intent_code"])
    factor = _SECONDS.get(int(header["xyzt_units"]) & _TIME_UNITS, 0.0)
    step = float(header["pixdim"][4]) * factor
    is_time_axis = sizes[0] > 1 and math.prod(sizes[1:]) == 1 and intent in _OF_TIME
    return max(step, 0.0) if is_time_axis and math.isfinite(step) else 0.0


def fourth_axis(path: Path) -> tuple[int, float] | None:
    """How many volumes a file holds, and the seconds between them, by its header alone.

    Returns
    -------
    (int, float) or None
        As :func:`time_step_s` has it; None for one volume, and for what cannot be read.
    """
    try:
        with _as_read_error(path), _opened(path) as stream:
            kind = _image_class(stream).header_class
            header = kind(stream.read(kind.template_dtype.itemsize), check=False)
            count = math.prod(header.get_data_shape()[3:])
    except ReadError:
        return None
    return (int(count), time_step_s(header)) if count > 1 else None


def _load(path: Path) -> tuple[Any, npt.NDArray[Any], list[str]]:
    """The nibabel image, its stored numbers before scaling, and what was assumed of its header."""
    import nibabel as nib

    silence("nibabel.global")
    with _as_read_error(path), _opened(path) as stream:
        _check_single_gzip(path, stream)
        holder = nib.fileholders.FileHolder(fileobj=stream)
        kind = _image_class(stream)
        head = stream.read(kind.header_class.template_dtype.itemsize)
        stream.seek(0)
        image = kind.from_file_map({"header": holder, "image": holder}, mmap=False)
        stated_bytes = math.prod(image.header.get_data_shape()) * image.get_data_dtype().itemsize
        check_growth(path, stated_bytes)
        raw = _stored(image, stream)
        while stream.read(1 << 20):  # the checksum of a gzip file stands at its very end
            pass
        return image, raw, _assumed(kind.header_class(head, check=False))


def _assumed(header: Any) -> list[str]:
    """What takes the place of fields that say nothing, in a header as it lies in the file."""
    notes, codes = [], {name: int(header[name]) for name in ("sform_code", "qform_code")}
    for name, code in codes.items():
        if code not in _XFORM_CODES:
            notes.append(f"its {name} is {code}, which the standard does not know: it is not used")
    is_axis = header["dim"][1:4] > 1
    is_placed = any(code in _XFORM_CODES[1:] for code in codes.values())
    if not is_placed and not all(header["pixdim"][1:4][is_axis]):
        notes.append(_NO_SPACING)
    if math.isinf(header["scl_slope"]):
        notes.append("its scl_slope is infinite: values are taken as they are stored")
    return notes


def _stored(image: Any, stream: IO[bytes]) -> npt.NDArray[Any]:
    """Stored numbers, which begin after the header, whatever its field of the offset says.

    Raises
    ------
    ReadError
        Code ``DAMAGED``, when it is 0, as writers leave it, and extensions follow the header.
    """
    import nibabel as nib

    proxy, header = image.dataobj, image.header
    first = int(header["sizeof_hdr"]) + 4
    if proxy.offset >= first:
        return np.asarray(proxy.get_unscaled())
    stream.seek(first - 4)
    if stream.read(1) not in (b"", b"\0"):
        raise ReadError(
            f"its field vox_offset is {proxy.offset}, inside of its own header, and extensions"
            " follow: where its voxels begin is not known; write it again with another program",
            code="DAMAGED",
        )
    spec = (image.shape, header.get_data_dtype(), first, 1.0, 0.0)
    return np.asarray(nib.arrayproxy.ArrayProxy(stream, spec, mmap=False).get_unscaled())


def _check_single_gzip(path: Path, stream: IO[bytes]) -> None:
    """Raise `ReadError` when what was gunzipped is gzipped again."""
    twice = stream.read(2) == _GZIP
    stream.seek(0)
    if twice:
        raise ReadError(f"{path.name} is gzipped twice; gunzip it once", code="DAMAGED")


def affine_mm(header: Any) -> npt.NDArray[Any]:
    """The affine to mm, bit for bit where the header's lengths are mm or of no known unit.

    Parameters
    ----------
    header : nibabel.Nifti1Header

    Returns
    -------
    ndarray, shape (4, 4)
    """
    _, mm = _LENGTHS.get(int(header["xyzt_units"]) & _LENGTH_UNITS, ("", 1.0))
    affine: npt.NDArray[Any] = header.get_best_affine()
    return affine if mm == 1.0 else np.diag([mm, mm, mm, 1.0]) @ affine


def _image_class(stream: IO[bytes]) -> Any:
    """`Nifti2Image` when the header is 540 bytes long, else `Nifti1Image`."""
    import nibabel as nib

    size = stream.read(4)
    stream.seek(0)
    is_second = size in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    return nib.Nifti2Image if is_second else nib.Nifti1Image


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, gunzipped when they start as gzip does, whatever the name says."""
    from isal import igzip

    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            yield file
            return
        with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
            yield stream


@contextmanager
def _as_read_error(path: Path) -> Iterator[None]:
    """Turn what nibabel and gzip raise about a damaged file into one `ReadError`."""
    from isal import isal_zlib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    faults: Any = (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        MemoryError,
        OverflowError,
        struct.error,
        ImageFileError,
        HeaderDataError,
        WrapStructError,
        zlib.error,
        isal_zlib.error,
    )
    try:
        yield
    except faults as error:
        stated = (HeaderDataError, ImageFileError)
        cause = reason(error) if isinstance(error, stated) else type(error).__name__
        raise ReadError(
            f"{path.name} cannot be read as NIfTI ({cause}): it is truncated, damaged or another"
            " format; copy or export it again",
        ) from error


def _channels_first(raw: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[str]]:
    """`raw`, axes (I, J[, K[, T or 1[, C]]]), as a view (C, I, J, K), with notes."""
    if raw.dtype.names:  # RGB and RGBA are stored as records
        raw = np.stack([raw[name] for name in raw.dtype.names], axis=-1)
        return _channels_first(raw if raw.ndim > 3 else np.expand_dims(raw, 2))
    if raw.ndim == 5 and raw.shape[3] == 1:  # vectors: NIfTI keeps time as the fourth axis
        raw = raw[:, :, :, 0]
    while raw.ndim > 3 and raw.shape[-1] == 1:
        raw = raw[..., 0]
    if raw.ndim > 4 or raw.ndim < 2:
        raise ReadError(f"it has {raw.ndim} axes {raw.shape}; two to four can be read")
    if raw.ndim == 4:
        note = f"the fourth axis ({raw.shape[3]} time points or channels) is read as channels"
        return np.moveaxis(raw, 3, 0), [note]
    return np.atleast_3d(raw)[np.newaxis], []


def _scaled(voxels: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[Any]:
    """Stored numbers (C, I, J, K) with the header's scaling: float32, or unchanged without."""
    if (slope, intercept) == (1, 0):
        return float32_unless_integer(voxels)
    scaled = np.empty_like(voxels, dtype=np.float32)
    for k in range(voxels.shape[3]):
        scaled[..., k] = voxels[..., k].astype(np.float64) * slope + intercept
    return scaled


def _provenance(path: Path, header: Any, grid: Grid, notes: Sequence[str]) -> Provenance:
    """Provenance with what is worth knowing about where the header says the voxels lie."""
    notes = list(notes)
    unit, mm = _LENGTHS.get(int(header["xyzt_units"]) & _LENGTH_UNITS, ("", 1.0))
    sform, scode = header.get_sform(coded=True)
    try:
        qform, qcode = header.get_qform(coded=True)
    except ValueError:  # the quaternion is no rotation; the sform was used
        qform, qcode = None, 0
        notes.append("the qform is no rotation; the sform is used")
    if not qcode and not scode:
        notes.append("neither sform nor qform is set: left and right are not known for certain")
    if qcode and scode:
        apart = mm * _corner_distance_mm(grid, qform, sform)
        if apart > _DISAGREEMENT_MM:
            notes.append(f"sform and qform lie up to {apart:.2f} mm apart; the sform is used")
    if qcode and not scode and _is_near_half_turn(header):
        notes.append(
            "the qform is within 0.07 degrees of a half turn; its numbers cannot tell by how much"
        )
    if unit:
        notes.append(f"the header gives lengths in {unit}; they are converted to mm")
    return Provenance(
        "nifti",
        (path,),
        notes=tuple(notes),
        laterality_known=bool(qcode or scode),
        has_physical_size=_NO_SPACING not in notes,
        xform_code=int(scode or qcode or 1),
    )


def _is_near_half_turn(header: Any) -> bool:
    """Whether the quaternion's missing number is lost in the rounding of the other three."""
    stored = np.array([float(header[f"quatern_{letter}"]) for letter in "bcd"])
    return bool(0 < abs(1 - stored @ stored) < abs(header.quaternion_threshold))


def _corner_distance_mm(grid: Grid, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Largest distance in mm between corner voxels under two affines."""
    last = np.asarray(grid.shape) - 1
    offsets = (CORNERS * last) @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.linalg.norm(offsets, axis=1).max())


def _stored_names(header: Any) -> _Names:
    """Names from the header extension that medseg writes; none when there is no such thing."""
    for extension in header.extensions:
        text = extension.get_content() if extension.get_code() == _COMMENT else b""
        text = text.encode() if isinstance(text, str) else bytes(text or b"")
        if text.startswith((b'{"medseg_labels"', b'{"medseg_channels"')):
            try:
                return msgspec.json.decode(text.rstrip(b"\0"), type=_Names)
            except msgspec.DecodeError:
                return _Names()
    return _Names()
