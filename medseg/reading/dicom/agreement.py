"""Whether the slices of one stack agree in what their values mean and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from medseg.errors import InputError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.header_fields import (
    OWNERS,
    POLARITY_MODE,
    POLARITY_SEQUENCE,
    PRIVATE_TAGS,
    UNITS,
)
from medseg.reading.dicom.header_values import as_numbers, as_text, has_comma, sanitized, shown
from medseg.reading.dicom.headers import DicomFile, transfer_syntax

_MEANINGS = (*UNITS, "PhotometricInterpretation", "ComplexImageComponent", "Modality")
_TOLD = ("ImageType", "ConvolutionKernel", "KVP", "FrameOfReferenceUID", "SOPClassUID")
_LUTS = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence")
_DECIMALS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
)
_FORWARD = 0.0
_PEPOLAR = "pepolar"


def disagreement(frames: Sequence[Frame]) -> InputError | None:
    """Why slices that lie in one even stack are not one volume all the same.

    Returns
    -------
    InputError or None
        Code ``MIXED_VALUES`` when what is stored means different things in different slices,
        ``REVERSED_ROWS`` when rows are stored the other way round than the header says.
    """
    files = _files(frames)
    return (
        _mixed_rescale(frames)
        or next((error for key in _MEANINGS if (error := _mixed_meaning(files, key))), None)
        or next((error for file in files if (error := _reversed_rows(file))), None)
    )


def owners_differ(frames: Sequence[Frame]) -> list[str]:
    """The fields by which slices belong to several patients or studies; blank ones do not count."""
    files = _files(frames)
    return [key for key in OWNERS if len(_values(files, key, _as_name)) > 1]


def notes_on(frames: Sequence[Frame]) -> list[str]:
    """What is worth knowing of the headers of a stack: one sentence each."""
    files = _files(frames)
    differing = [key for key in _TOLD if len({file.text(key) for file in files}) > 1]
    notes = [f"its slices differ in {', '.join(differing)}"] if differing else []
    if owners := owners_differ(frames):
        notes.append(
            f"its slices belong to several patients or studies ({', '.join(owners)} differ):"
            " results can be written, but not as DICOM"
        )
    if any(has_comma(file.header, key) for file in files for key in _DECIMALS):
        notes.append("decimal commas in its headers are read as points")
    if assumed := sorted({key for file in files for key in file.assumed}):
        notes.append(f"{', '.join(assumed)} missing: taken from the pixels (unsigned, all bits)")
    if any(_is_mislabelled(file) for file in files):
        notes.append(
            "its pixels are encoded in another way than its meta information says"
            f" ({sanitized(files[0].transfer_syntax.name)}); they are read as they are"
        )
    return notes


def _files(frames: Sequence[Frame]) -> list[DicomFile]:
    return list(dict.fromkeys(frame.file for frame in frames))


def _values(files: Sequence[DicomFile], key: str, form: Callable[[str], str]) -> set[str]:
    """The different values of a field, blank ones left out."""
    return {form(text) for file in files if (text := file.text(key))}


def _as_name(text: str) -> str:
    """A name or number without what people write in different ways."""
    return " ".join(text.replace("^", " ").split()).casefold()


def _is_mislabelled(file: DicomFile) -> bool:
    return bool(file.element.keyword) and file.transfer_syntax != transfer_syntax(file.header)


def _mixed_rescale(frames: Sequence[Frame]) -> InputError | None:
    """The refusal where some slices have factors that others lack."""
    has = [_has_factors(frame) for frame in frames]
    neutral = all(_is_neutral(frame) for frame, there in zip(frames, has, strict=True) if there)
    if len(set(has)) == 1 or neutral:
        return None
    rarer = has.count(True) <= has.count(False)
    odd = has.index(rarer)
    verb = "has" if rarer else "lacks"
    return InputError(
        f"{frames[odd].file.path.name} {verb} RescaleSlope and RescaleIntercept (or a Modality"
        f" LUT), unlike {len(frames) - has.count(rarer)} other slices of its series: their values"
        " are not in the same units; export the series again",
        code="MIXED_VALUES",
    )


def _has_factors(frame: Frame) -> bool:
    return frame.rescale is not None or any(key in frame.file.header for key in _LUTS)


def _is_neutral(frame: Frame) -> bool:
    """Whether rescaling changes nothing."""
    header = frame.file.header
    if frame.rescale is None and "ModalityLUTSequence" in header:
        return False
    slope = as_numbers(header, "RescaleSlope", 1) or (1.0,)
    intercept = as_numbers(header, "RescaleIntercept", 1) or (0.0,)
    return (frame.rescale or (*slope, *intercept)) == (1.0, 0.0)


def _mixed_meaning(files: Sequence[DicomFile], key: str) -> InputError | None:
    """The refusal where a field that says what values are differs."""
    if len(_values(files, key, str)) < 2:
        return None
    counts = Counter(file.text(key) for file in files)
    odd = min(files, key=lambda file: counts[file.text(key)])
    usual = max(files, key=lambda file: counts[file.text(key)])
    return InputError(
        f"{odd.path.name} has {key} {shown(odd.header, key) or 'blank'}, where"
        f" {counts[usual.text(key)]} other slices of its series have"
        f" {shown(usual.header, key) or 'none'}: their values do not mean the same; export the"
        " series again",
        code="MIXED_VALUES",
    )


def _reversed_rows(file: DicomFile) -> InputError | None:
    """The refusal of images that GE's epi_pepolar stored with their rows in reversed order.

    References
    ----------
    Private (0019,xx9C) names the sequence; (0019,xxB3) is its mode: 0 forward, 1 reversed,
    2 reversed then forward, 3 forward then reversed. The header is the same in all.
    """
    names = _private(file, POLARITY_SEQUENCE)
    if not any(_PEPOLAR in as_text(file.header, tag).lower() for tag in names):
        return None
    modes = [as_numbers(file.header, tag, 1) for tag in _private(file, POLARITY_MODE)]
    if modes and all(mode == (_FORWARD,) for mode in modes):
        return None
    return InputError(
        f"{file.path.name} is of GE's sequence epi_pepolar with reversed polarity, which stores"
        " rows in reversed order under a header that does not say so; it would be mirrored,"
        " convert it with dcm2niix",
        code="REVERSED_ROWS",
    )


def _private(file: DicomFile, element: int) -> list[int]:
    """Tags of a private element, in the blocks where the file has it."""
    return [tag for tag in PRIVATE_TAGS if tag & 0xFF == element and tag in file.header]
