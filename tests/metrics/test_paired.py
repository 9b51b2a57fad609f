"""Paired differences: Wilcoxon's and Holm's numbers by hand, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from medseg.metrics import paired_differences
from medseg.metrics.paired import holm


def paired(first, second, patients=None):
    first, second = (
        np.asarray(values, float).reshape(len(first), -1) for values in (first, second)
    )
    return paired_differences(
        first, second, np.arange(len(first)) if patients is None else patients
    )


@pytest.mark.parametrize(("cases", "p"), [(4, 2 / 2**4), (5, 2 / 2**5), (6, 2 / 2**6)])
def test_where_all_cases_are_better_only_two_of_all_signs_are_as_far(cases, p):
    """With five cases p is 0.0625 at best: nothing can be shown."""
    first = np.linspace(0.5, 0.6, cases)
    (found,), over = paired(first, first + np.linspace(0.01, 0.02, cases))
    assert found.p == pytest.approx(p)
    assert found.difference == pytest.approx(0.015)
    assert found.is_shown == (cases >= 6)
    assert over.p == found.p


def test_wilcoxons_example_by_hand():
    """Ranks of 1, -2, 3, 4, 5: the negative sum is 2; 3 of 32 sign patterns reach it: {}, 1, 2."""
    (found,), _ = paired([0.0] * 5, [0.1, -0.2, 0.3, 0.4, 0.5])
    assert found.p == pytest.approx(2 * 3 / 32)


def test_zero_differences_are_counted_and_left_out():
    (found,), _ = paired([0.5] * 9, [0.5, 0.5, 0.5, *np.linspace(0.6, 0.7, 6)])
    assert (found.n, found.zeros, found.p) == (9, 3, pytest.approx(2 / 64))
    (same,), _ = paired([0.5] * 9, [0.5] * 9)
    assert (same.zeros, same.p, same.difference, same.is_shown) == (9, 1.0, 0.0, False)


def test_equal_steps_are_ties_whatever_their_last_bits():
    """0.3 - 0.2 is not 0.2 - 0.1 as floats; all differences tie, and all signs are one."""
    first = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.8])
    (found,), _ = paired(first, first + 0.1)
    assert found.p == pytest.approx(2 / 64)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 3))
def test_b_against_a_is_a_against_b_with_the_sign_turned(seed, cases, labels):
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, cases, labels))
    first[rng.random(first.shape) < 0.2] = np.nan
    there, over = paired(first, second)
    back, over_back = paired(second, first)
    for one, other in zip([*there, over], [*back, over_back], strict=True):
        assert (one.p, one.p_holm, one.n, one.zeros) == (
            other.p,
            other.p_holm,
            other.n,
            other.zeros,
        )
        assert (one.mean_a, one.mean_b) == (other.mean_b, other.mean_a)
        if one.low is not None:
            assert one.difference == pytest.approx(-other.difference)
            assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_p_is_scipys():
    rng = np.random.default_rng(5)
    first = rng.random(80)
    second = first + rng.normal(0.01, 0.05, 80)
    (found,), _ = paired(first, second)
    assert found.p == pytest.approx(wilcoxon(first, second).pvalue)


def test_cases_of_a_patient_are_one_difference():
    """Six cases of three patients cannot show what six patients would."""
    first, second = np.linspace(0.5, 0.6, 6), np.linspace(0.6, 0.8, 6)
    (found,), _ = paired(first, second, patients=np.array([0, 0, 1, 1, 2, 2]))
    assert (found.n, found.p) == (3, pytest.approx(2 / 8))
    assert found.difference == pytest.approx((second - first).mean())


def test_a_case_counts_where_both_have_a_value():
    (found, other), over = paired([[0.5, np.nan], [0.7, 0.2]], [[0.6, 0.9], [np.nan, 0.4]])
    assert (found.n, found.mean_a, found.mean_b) == (1, 0.5, 0.6)
    assert (found.low, found.high, found.is_shown) == (None, None, False)
    assert (other.n, other.difference) == (1, pytest.approx(0.2))
    assert over.difference == pytest.approx(0.15)
    (nothing,), over = paired([np.nan], [0.5])
    assert (nothing.p, nothing.p_holm, nothing.difference, over.p) == (None,) * 4


def test_holms_example_by_hand():
    """Four tests: 0.01 * 4, 0.02 * 3, then 0.04 * 1 is less than the step before, 0.03 * 2."""
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0]
    assert holm([]) == []
