"""A label schema as text and as a file: what is wrong is named by row."""

from __future__ import annotations

import pytest

from medseg.errors import LabelError, ReadError
from medseg.volume import Code, Label, LabelTable
from medseg_napari.editing.label_schema import read_schema, rows_of, table_of_rows, write_schema

LIVER = Label(value=5, name="liver", color=(1, 20, 255), code=Code("10200004", "SCT", "Liver"))
LESION = Label.coded(
    7,
    "lesion",
    (9, 9, 9),
    category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
    type_code=Code("4147007", "SCT", "Mass"),
)
OTHER = Label.coded(
    8,
    "other",
    (9, 9, 9),
    category=Code("Q1", "99LOCAL", "it's own"),
    type_code=Code("K1", "99LOCAL", "Kind"),
)
TABLE = LabelTable((Label(value=2, name="Niere links", color=(0, 0, 0)), LIVER, LESION, OTHER))


def test_text_and_file_keep_everything(tmp_path) -> None:
    assert table_of_rows(rows_of(TABLE)) == TABLE
    assert table_of_rows(reversed(rows_of(TABLE))) == TABLE
    write_schema(TABLE, tmp_path / "schema.json")
    assert read_schema(tmp_path / "schema.json") == TABLE
    assert [path.name for path in tmp_path.iterdir()] == ["schema.json"]


@pytest.mark.parametrize("code", ["10200004", "64033007", "39607008", "78961009", "15776009"])
def test_codes_of_snomed_are_taken(code) -> None:
    rows = [["1", "organ", "#ffffff", code, "", "Organ"]]
    assert table_of_rows(rows).labels[0].code == Code(code, "SCT", "Organ")
    other = code[:-1] + str((int(code[-1]) + 1) % 10)
    with pytest.raises(LabelError, match=f"row 1: '{other}' is no SNOMED"):
        table_of_rows([[*rows[0][:3], other, "SCT", "Organ"]])
    assert table_of_rows([[*rows[0][:3], other, "99LOCAL", "Organ"]]).labels[0].code.value == other


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["0", "a", "#000000", "", "", ""], "whole number from 1"),
        (["x", "a", "#000000", "", "", ""], "'x'"),
        (["65536", "a", "#000000", "", "", ""], "65535"),
        (["3", "", "#000000", "", "", ""], "needs a name"),
        (["3", "a", "red", "", "", ""], "'red'"),
        (["3", "a", "#000000", "10200004", "SCT", ""], "its meaning"),
        (["3", "a", "#000000", "", "", "Liver"], "its number"),
        (["3", "a", "#000000", "1" * 19, "99LOCAL", "Liver"], "longer than DICOM"),
        (["3", "a", "#000000", "", "", "", "Tumour"], "'Tumour' is no category"),
    ],
)
def test_a_wrong_cell_is_named(row, words) -> None:
    with pytest.raises(LabelError, match="row 2") as error:
        table_of_rows([["1", "fine", "#000000", "", "", ""], row])
    assert words in str(error.value)


def test_values_and_names_are_unique() -> None:
    for second in (["1", "b", "#000000", "", "", ""], ["2", "a", "#000000", "", "", ""]):
        with pytest.raises(LabelError, match="unique"):
            table_of_rows([["1", "a", "#000000", "", "", ""], second])


@pytest.mark.parametrize(
    "text", ["", "[]", '{"medseg_labels": [{"value": 1}]}', '{"medseg_labels": [], "more": 1}']
)
def test_another_file_is_refused(tmp_path, text) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ReadError, match=r"'other.json' is no label schema"):
        read_schema(path)
    with pytest.raises(ReadError, match="cannot be read"):
        read_schema(tmp_path / "absent.json")
