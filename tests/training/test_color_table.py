"""Label names from the colour tables of other programs."""

from __future__ import annotations

import pytest

from medseg.errors import InputError
from medseg.training import read_label_table

ITK_SNAP = """################
# ITK-SnAP Label Description File
################
    0     0    0    0        0  0  0    "Clear Label"
    4   255  255    0        1  1  1    "hippo R"
    1     0   30  255     0.50  1  0    "vent (lat)"
"""
SLICER = (
    "# Color table\n0 Background 0 0 0 0\n2 left_kidney 185 102 83 255\n\n1 liver 221 130 101\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ITK_SNAP, {1: ("vent (lat)", (0, 30, 255)), 4: ("hippo R", (255, 255, 0))}),
        (SLICER, {1: ("liver", (221, 130, 101)), 2: ("left kidney", (185, 102, 83))}),
    ],
)
def test_names_and_colours(tmp_path, text, expected):
    path = tmp_path / "names.label"
    path.write_text(text)
    table = read_label_table(path)
    assert {one.value: (one.name, one.color) for one in table} == expected


def test_json_of_another_ending(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text('\ufeff{"3": "aorta"}', encoding="utf-8")
    assert read_label_table(path).names == ("aorta",)


def test_another_file_names_its_line(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("# names\nliver is one\n")
    with pytest.raises(InputError, match="line 2 is 'liver is one'"):
        read_label_table(path)
