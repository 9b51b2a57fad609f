"""Fields of headers missing, doubled, misspelt or of another type: exact, told or refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pydicom import DataElement
from pydicom.config import IGNORE

from dicom_phantom import Series, random_stored, save
from medseg.errors import InputError, ReadError
from medseg.reading import read_scan

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FIELDS = (
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "FrameOfReferenceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceNumber",
    "AcquisitionNumber",
    "ImageType",
    "SliceThickness",
    "Modality",
    "PatientID",
)
KINDS = ("missing", "blank", "doubled", "misspelt", "other type")
TYPES = ("UT", "LO", "SH", "ST", "OB")


def damage(ds, field, kind, chance):
    """One field missing, doubled, misspelt or of another type."""
    text = "\\".join(map(str, np.atleast_1d(ds[field].value)))
    tag, vr, at = ds[field].tag, "LO", chance.randrange(len(text) + 1)
    del ds[field]
    if kind == "missing":
        return
    value = {
        "blank": "",
        "doubled": f"{text}\\{text}",
        "misspelt": text[:at] + chance.choice("x,;- ") + text[at:],
    }.get(kind, text)
    if kind == "other type":
        vr = chance.choice(TYPES)
        value = text.encode() + b" " * (len(text) % 2) if vr == "OB" else text
    ds[tag] = DataElement(tag, vr, value, validation_mode=IGNORE)


def write_damaged(folder, seed):
    """A series of four slices with one to three odd fields; gives it, and what is odd."""
    chance = random.Random(seed)
    sign = chance.choice([np.uint16, np.int16])
    series = Series(random_stored((4, 5, 6), seed).astype(sign), slopes=(chance.choice([1, 2.5]),))
    fields = chance.sample(FIELDS, chance.choice([1, 1, 2, 3]))
    kinds = {field: chance.choice(KINDS) for field in fields}
    slices = chance.choice([range(4), [chance.randrange(4)]])
    for k in range(4):
        ds = series.slice(k)
        ds["PixelData"].VR = "OW"
        for field, kind in kinds.items() if k in slices else ():
            damage(ds, field, kind, chance)
        save(ds, folder / f"{k:03d}")
    return series, kinds


def fault(folder, seed):
    """What is wrong with how a damaged series is read; empty when it is exact, told or refused."""
    series, kinds = write_damaged(folder, seed)
    try:
        scan = read_scan(folder)
    except InputError as error:
        is_vague = error.code == ReadError.default_code
        return f"seed {seed}, {kinds}: {error}" if is_vague else ""
    is_whole = scan.grid.shape == (6, 5, 4) and np.array_equal(scan.voxels[0], series.values())
    ends = [[0, 0, 0], [5, 4, 3]]
    places = [series.world(*end) for end in ends]
    is_placed = np.allclose(scan.grid.to_world(ends), places, atol=0.1)
    if (is_whole and is_placed) or scan.provenance.notes:
        return ""
    return f"seed {seed}, {kinds}: other values or places without a word"


def test_odd_headers_never_give_other_values_silently(tmp_path):
    assert [text for seed in range(80) if (text := fault(tmp_path, seed))] == []


@pytest.mark.slow
def test_three_thousand_odd_headers_never_give_other_values_silently(tmp_path):
    assert [text for seed in range(3000) if (text := fault(tmp_path, seed))] == []
