"""The house keeps its form: no circles, nothing imported upwards or in private, plain names."""

from __future__ import annotations

import ast

from architecture import measures
from architecture.house import PACKAGES


def test_no_modules_import_one_another_in_a_circle():
    assert not measures.circles(*PACKAGES)
    assert not measures.circles(measures.BENCHMARKS)


def test_nothing_is_imported_from_a_floor_above():
    assert not measures.upward_imports()


def test_no_private_part_of_another_package_is_imported():
    assert not measures.private_imports()


def test_names_are_words_of_the_field():
    assert not measures.banned_names()


def test_every_package_has_a_floor():
    floors = {name for names in measures.FLOORS for name in names}
    packages = {name for name in measures.lines_by_package() if name.startswith("medseg.")}
    assert packages <= floors


def test_the_rules_see_what_they_are_about():
    tree = ast.parse("found = 1\nclass NightCrew: ...\ndef read(path): ...\nself.told = 2")
    bound = [name for node in ast.walk(tree) for name in measures.bound(node)]
    assert {name for name in bound if measures.is_banned(name)} == {"found", "NightCrew", "told"}
    assert measures.owner_of_private("medseg.networks._layers.conv") == "medseg.networks"
    assert measures.owner_of_private("torch._dynamo") == ""
