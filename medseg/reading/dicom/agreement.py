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
from medseg.reading.dicom.pixel_data import has_more_pixels

_MEANINGS = (*UNITS, "PhotometricInterpretation", "ComplexImageComponent", "Modality")
_NOTED = (
    "SeriesInstanceUID",
    "ImageType",
    "ConvolutionKernel",
    "KVP",
    "FrameOfReferenceUID",
    "SOPClassUID",
)
_RESCALE = ("RescaleSlope", "RescaleIntercept")
_NEUTRAL = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0, "ModalityLUTSequence": ""}
_RESCALED = {"CT", "PT", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"}
"""Modalities and SOP classes (CT, PET) whose headers must have both factors."""

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
        or _mixed_assumed(files)
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
    keys = (*_NOTED, *_RESCALE) if files[0].modality == "CT" else _NOTED
    differing = [key for key in keys if len({file.text(key) for file in files}) > 1]
    notes = [f"its slices differ in {', '.join(differing)}"] if differing else []
    if owners := owners_differ(frames):
        notes.append(
            f"its slices belong to several patients or studies ({', '.join(owners)} differ):"
            " results can be written, but not as DICOM"
        )
    if any(has_comma(file.header, key) for file in files for key in _DECIMALS):
        notes.append("decimal commas in its headers are read as points")
    if assumed := sorted({key for file in files for key in file.assumed}):
        notes.append(
            f"{', '.join(assumed)} missing or unusable: taken from the pixels (unsigned, all bits)"
        )
    if any(slope[0] < 0 for file in files if (slope := as_numbers(file.header, _RESCALE[0], 1))):
        notes.append("RescaleSlope is negative: high stored values are low ones")
    if lacking := _without_rescale(frames):
        notes.append(
            f"{', '.join(lacking)} missing: values are as stored and may not be in the units of"
            " their kind (HU)"
        )
    if any(has_more_pixels(file) for file in files):
        notes.append("its files hold more pixels than their headers say; the rest is left out")
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
    """The refusal where some slices have factors that others lack and that change their values."""
    factors = [_factors_of(frame) for frame in frames]
    mixed = [
        key
        for key, neutral in _NEUTRAL.items()
        if any(key not in own for own in factors)
        and any(own.get(key, neutral) != neutral for own in factors)
    ]
    turned = [own.get("RescaleSlope", 1.0) for own in factors]
    if not mixed:
        return _mixed_signs(frames, turned)
    has = [mixed[0] in own for own in factors]
    rarer = has.count(True) <= has.count(False)
    odd = has.index(rarer)
    fields = " and ".join(key for key in mixed if (key in factors[odd]) == rarer)
    return InputError(
        f"{frames[odd].file.path.name} {'has' if rarer else 'lacks'} {fields}, unlike"
        f" {has.count(not rarer)} other slices of its series: their values are not in the same"
        " units; export the series again",
        code="MIXED_VALUES",
    )


def _mixed_signs(frames: Sequence[Frame], slopes: Sequence[str | float]) -> InputError | None:
    """The refusal where values are turned round in some slices only."""
    negative = [isinstance(slope, float) and slope < 0 for slope in slopes]
    if len(set(negative)) == 1:
        return None
    odd = negative.index(negative.count(True) <= negative.count(False))
    return InputError(
        f"{frames[odd].file.path.name} has RescaleSlope {slopes[odd]:g}, whose sign is not that of"
        " other slices of its series; export the series again",
        code="MIXED_VALUES",
    )


def _factors_of(frame: Frame) -> dict[str, str | float]:
    """What a frame's values are rescaled by, by field; absent and blank ones left out."""
    header = frame.file.header
    if frame.rescale is not None:
        return dict(zip(_RESCALE, frame.rescale, strict=True))
    if "ModalityLUTSequence" in header:
        return {"ModalityLUTSequence": "a table"}
    return {
        key: (as_numbers(header, key, 1) or (text,))[0]
        for key in _RESCALE
        if (text := as_text(header, key))
    }


def _without_rescale(frames: Sequence[Frame]) -> list[str]:
    """Fields that the values of these slices should be rescaled by and that are not there."""
    lacking: set[str] = set()
    for frame in frames:
        own = _factors_of(frame)
        needed = frame.file.modality in _RESCALED or frame.file.text("SOPClassUID") in _RESCALED
        if "ModalityLUTSequence" not in own and (own or needed):
            lacking |= {key for key in _RESCALE if key not in own}
    return [key for key in _RESCALE if key in lacking]


def _mixed_assumed(files: Sequence[DicomFile]) -> InputError | None:
    """The refusal where what was filled in for one file is not what others of its series say."""
    for file in files:
        for key in file.assumed:
            others = {other.text(key) for other in files if key not in other.assumed}
            if others - {file.text(key)}:
                return InputError(
                    f"{file.path.name} has no usable {key}, which is {min(others)} in other slices"
                    " of its series: what its pixels are is not known; export the series again",
                    code="MIXED_VALUES",
                )
    return None


def _mixed_meaning(files: Sequence[DicomFile], key: str) -> InputError | None:
    """The refusal where a field that says what values are differs."""
    if len(_values(files, key, str)) < 2:
        return None
    counts = Counter(file.text(key) for file in files)
    majority = max(files, key=lambda file: counts[file.text(key)])
    others = [file for file in files if file.text(key) != majority.text(key)]
    odd = min(others, key=lambda file: counts[file.text(key)])
    return InputError(
        f"{odd.path.name} has {key} {shown(odd.header, key) or 'blank'}, where"
        f" {counts[majority.text(key)]} other slices of its series have"
        f" {shown(majority.header, key) or 'none'}: their values do not mean the same; export the"
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
