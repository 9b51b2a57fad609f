"""NRRD and MetaImage as 3D Slicer and ITK read them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from medseg.errors import WriteError
from medseg.reading import read_labels
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable
from medseg.writing import write_labels

TABLE = LabelTable(
    (
        Label(value=1, name="liver", color=(255, 0, 51), code=Code("10200004", "SCT", "Liver")),
        Label(value=4, name="spleen", color=(0, 102, 255)),
    )
)
VALUES = np.random.default_rng(0).choice([0, 1, 4], (3, 4, 5)).astype(np.uint8)


def test_slicer_fields(tmp_path):
    labels = LabelMap(VALUES, Grid((3, 4, 5), np.diag([-1.0, -2, 3, 1])), TABLE)
    write_labels(labels, tmp_path / "a.seg.nrrd")
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert image.GetMetaData("Segment1_Name") == "spleen"
    assert image.GetMetaData("Segment1_LabelValue") == "4"
    assert image.GetMetaData("Segment0_Extent") == "0 2 0 3 0 4"
    assert "SCT^10200004^Liver" in image.GetMetaData("Segment0_Tags")
    back = read_labels(tmp_path / "a.seg.nrrd")
    assert back.table == TABLE


def test_codes_as_slicer_writes_them(tmp_path):
    """Other tags before the entry, a type modifier, a region; and an entry that is no such."""
    entry = (
        "Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left"
        "~Anatomic codes - DICOM master list~^^~^^"
    )
    image = SimpleITK.GetImageFromArray(VALUES)
    tags = (f"Segmentation.Status:inprogress|TerminologyEntry:{entry}|", "TerminologyEntry:~~")
    for number, value in enumerate((1, 4)):
        image.SetMetaData(f"Segment{number}_Name", f"n{value}")
        image.SetMetaData(f"Segment{number}_LabelValue", str(value))
        image.SetMetaData(f"Segment{number}_Tags", tags[number])
    SimpleITK.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    table = read_labels(tmp_path / "a.seg.nrrd").table
    assert [one.code for one in table] == [Code("64033007", "SCT", "Kidney"), None]


@pytest.mark.parametrize(
    ("name", "code"), [("a\rb", None), ("liver", Code("1^2", "SCT", "")), ("\0a", None)]
)
def test_texts_that_nrrd_cannot_hold_are_refused(tmp_path, name, code):
    table = LabelTable((Label(value=1, name=name, color=(0, 0, 0), code=code),))
    labels = LabelMap(np.minimum(VALUES, 1), Grid((3, 4, 5), np.eye(4)), table)
    with pytest.raises(WriteError, match=r"\.nii\.gz") as caught:
        write_labels(labels, tmp_path / "a.seg.nrrd")
    assert "\r" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_header_is_what_slicer_expects(tmp_path):
    """The plain text of the header, parsed without ITK."""
    affine = np.diag([-1.0, -2, 3, 1])
    affine[:3, 3] = 10, 20, 30
    path = write_labels(LabelMap(VALUES, Grid((3, 4, 5), affine), TABLE), tmp_path / "a.seg.nrrd")
    lines = path.read_bytes().split(b"\n\n", 1)[0].decode().splitlines()
    lines = [line for line in lines[1:] if not line.startswith("#")]
    fields = dict(line.split(":=" if ":=" in line else ": ", 1) for line in lines)
    assert fields["space"] == "left-posterior-superior"
    assert fields["space directions"] == "(1,0,0) (0,2,0) (0,0,3)"
    assert fields["space origin"] == "(-10,-20,30)"
    assert fields["encoding"] == "gzip"
    assert fields["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert fields["Segment0_Color"] == "1.000000 0.000000 0.200000"
    for tags, kind in ((fields["Segment0_Tags"], "Liver"), (fields["Segment1_Tags"], "Tissue")):
        entry = tags.removeprefix("TerminologyEntry:").removesuffix("|").split("~")
        assert len(entry) == 7
        assert all(word.count("^") == 2 for word in (*entry[1:4], *entry[5:]))
        assert entry[2].endswith(kind)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_sheared_grid_is_refused(tmp_path, ending):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    labels = LabelMap(VALUES, Grid((3, 4, 5), affine), TABLE)
    with pytest.raises(WriteError, match=r"\.nii\.gz") as caught:
        write_labels(labels, tmp_path / f"a{ending}")
    assert caught.value.code == "SHEARED"
    assert not list(tmp_path.iterdir())
