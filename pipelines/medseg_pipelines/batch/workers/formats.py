"""What a case is written as."""

from __future__ import annotations

from pathlib import Path

import msgspec

from medseg.errors import InputError
from medseg.reading import Policies
from medseg.writing import check_encoding
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.result_files import FILES

NO_LABELS = ("preview", "probabilities")
"""Formats that every scan can have, for they hold no label map."""

ENCODED = ("dicom-seg", "sr")
"""Formats that the encoding of a DICOM SEG matters to."""


def policies_of(settings: Settings) -> Policies:
    """What may be repaired; raises `msgspec.ValidationError` when the settings name no policy."""
    return msgspec.convert({"irregular": settings.irregular, "missing": settings.missing}, Policies)


def check_settings(settings: Settings) -> None:
    """Raise `InputError` or `WriteError` unless cases can be written so."""
    unknown = [name for name in settings.formats if name not in FILES]
    if unknown or not settings.formats:
        what = f"'{unknown[0]}' is no format" if unknown else "no format is asked for"
        raise InputError(f"{what}; known are {', '.join(FILES)}", code="FORMAT")
    try:
        policies_of(settings)
    except msgspec.ValidationError as error:
        raise InputError(f"a policy is unknown: {error}", code="POLICY") from error
    check_encoding(FILES["dicom-seg"], settings.encoding)
    roi_from = settings.roi_from
    if roi_from is not None and Path(roi_from).is_file() and Path(roi_from).suffix != ".zip":
        raise InputError(
            f"the box cannot come from the mask '{Path(roi_from).name}': one mask does not fit"
            " every scan; give a model or 'coarse', or segment that scan alone",
            code="ONE_MASK",
        )
