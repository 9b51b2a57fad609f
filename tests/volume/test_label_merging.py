"""Labels merged into labels: names find values, rules decide voxels, nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.volume import LabelTable
from medseg.volume.label_merging import merge_tables, merge_values, renumber

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6)
VALUES = st.lists(st.integers(1, 12), unique=True, min_size=6, max_size=6)
TABLES = st.builds(
    lambda names, values: LabelTable.of(dict(zip(values, names, strict=False))), NAMES, VALUES
)
MAPS = arrays(np.uint8, 60, elements=st.integers(0, 3))


@given(TABLES, TABLES)
def test_no_value_changes_its_meaning_and_names_are_one(mine, other):
    table, values = merge_tables(mine, other)
    names = {label.value: label.name for label in table}
    assert all(names[label.value] == label.name for label in mine)
    assert all(names[values[label.value]] == label.name for label in other)
    assert set(table.names) == {*mine.names, *other.names}


def test_free_values_are_kept_and_taken_ones_replaced_by_the_next_free():
    mine = LabelTable.of({1: "tumour", 4: "liver"})
    table, values = merge_tables(mine, LabelTable.of({1: "spleen", 2: "liver", 3: "kidney"}))
    assert values == {1: 2, 2: 4, 3: 3}
    assert table.names == ("tumour", "spleen", "kidney", "liver")
    found = np.array([0, 1, 2, 3, 2], np.uint8)
    assert renumber(found, values).tolist() == [0, 2, 4, 3, 4]


def test_each_rule_on_every_kind_of_voxel():
    # own label 1, other label 2; found 1 or nothing
    before = np.array([0, 0, 1, 1, 2, 2], np.uint8)
    found = np.array([0, 1, 0, 1, 0, 1], np.uint16)
    results = {
        "overwrite": [0, 1, 0, 1, 2, 1],
        "only_empty": [0, 1, 1, 1, 2, 2],
        "keep_others": [0, 1, 0, 1, 2, 2],
    }
    for rule, expected in results.items():
        merged = merge_values(before, found, rule=rule, own=[1])
        assert merged.tolist() == expected, rule
        assert merged.dtype == before.dtype
    edited = np.array([1, 0, 1, 0, 0, 1], bool)
    merged = merge_values(before, found, rule="keep_edits", own=[1], edited=edited)
    assert merged.tolist() == [0, 1, 1, 1, 2, 2]


@given(MAPS, MAPS, st.sampled_from(["overwrite", "only_empty", "keep_others", "keep_edits"]))
def test_locked_labels_neither_lose_nor_gain(before, found, rule):
    merged = merge_values(before, found, rule=rule, own=[1, 2, 3], locked=[2])
    assert np.array_equal(merged == 2, before == 2)


@pytest.mark.parametrize("rule", ["overwrite", "only_empty", "keep_others", "keep_edits"])
def test_what_is_merged_twice_is_what_is_merged_once(rule):
    rng = np.random.default_rng(0)
    before, found = rng.integers(0, 4, (2, 500)).astype(np.uint8)
    found[found == 3] = 0
    once = merge_values(before, found, rule=rule, own=[1, 2])
    assert np.array_equal(merge_values(once, found, rule=rule, own=[1, 2]), once)
