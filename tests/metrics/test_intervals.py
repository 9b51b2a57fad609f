"""Bootstrap intervals against the normal distribution, properties, and cases by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import InputError
from medseg.metrics import bootstrap, evaluation_of, statistics, with_missing
from medseg.metrics.intervals import patients_of
from medseg.volume.label_table import MEAN


def row(case, patient="", **labels):
    """A case whose labels have a Dice; of None the label is in neither map."""
    scores = {
        name: {"dice": dice, "hd95_mm": 1.0 if dice else None, **volumes(dice)}
        for name, dice in labels.items()
    }
    return {"case": case, "patient": patient, "diagonal_mm": 50.0, "labels": scores}


def volumes(dice):
    return {
        "volume_ml": 1.0 if dice else 0.0,
        "reference_volume_ml": 0.0 if dice is None else 2.0,
    }


def own_patients(count):
    return np.arange(count)


def test_of_many_cases_it_is_the_interval_of_the_normal_distribution():
    """The standard error of a mean of n draws of deviation s is s / sqrt(n)."""
    values = np.random.default_rng(1).normal(0.8, 0.1, (400, 1))
    (limits,), over = bootstrap(values, own_patients(400))
    error = values.std() / 20
    assert limits.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert limits.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert over == limits


def test_patients_are_drawn_with_all_their_cases():
    """40 patients of 10 like cases tell as much as 40 cases, so the interval is as wide."""
    of_patients = np.random.default_rng(2).normal(0.8, 0.1, (40, 1))
    (alone,), _ = bootstrap(of_patients, own_patients(40))
    repeated = np.repeat(of_patients, 10, axis=0)
    (clustered,), _ = bootstrap(repeated, np.repeat(own_patients(40), 10))
    (wrongly,), _ = bootstrap(repeated, own_patients(400))
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    assert wrongly.high - wrongly.low < 0.5 * (alone.high - alone.low)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=2, max_size=12),
    st.integers(1, 3),
)
def test_the_interval_holds_the_mean_and_stays_within_the_values(cells, cases_each):
    values = np.array([[np.nan if cell is None else cell] for cell in cells])
    patients = own_patients(len(cells)) // cases_each
    (limits,), over = bootstrap(values, patients, draws=400)
    present = values[~np.isnan(values)]
    told = len({who for who, cell in zip(patients, cells, strict=True) if cell is not None})
    assert (limits.low is None) == (told < 2)
    assert (over.low is None) == (told < 2)
    if limits.low is not None:
        tiny = 1e-9
        assert present.min() - tiny <= limits.low <= present.mean() + tiny
        assert present.mean() - tiny <= limits.high <= present.max() + tiny


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    values = np.random.default_rng(3).random((9, 2))
    first, second, other = (bootstrap(values, own_patients(9), seed=s) for s in (0, 0, 1))
    assert first == second != other


def test_cases_without_a_value_are_counted_beside_the_mean():
    rows = [
        row("a", liver=0.9, cyst=None),
        row("b", liver=0.0, cyst=0.5),
        row("c", liver=0.6, cyst=None),
    ]
    found = statistics(rows)
    liver = found["liver"]
    assert (liver["dice"]["mean"], liver["dice"]["n"]) == (pytest.approx(0.5), 3)
    assert (liver["hd95_mm"]["n"], liver["hd95_mm"]["undefined"]) == (2, 1)
    cyst = found["cyst"]["dice"]
    assert (cyst["n"], cyst["undefined"], cyst["empty"]) == (1, 0, 2)
    assert (cyst["mean"], cyst["low"], cyst["high"]) == (0.5, None, None)
    assert found[MEAN]["dice"]["mean"] == pytest.approx(0.5)


def test_a_missed_label_counts_with_the_diagonal_where_asked_to():
    rows = [row("a", liver=0.9), row("b", liver=0.0), row("c", liver=None)]
    worst = with_missing(rows, "worst")
    assert [one["labels"]["liver"]["hd95_mm"] for one in worst] == [1.0, 50.0, None]
    back = with_missing(worst, "undefined")
    assert [one["labels"]["liver"]["hd95_mm"] for one in back] == [1.0, None, None]
    evaluation = evaluation_of(rows, missing="worst")
    assert evaluation["mean"]["liver"]["hd95_mm"] == 25.5
    assert "diagonal" in evaluation["rules"]["empty in one"]
    del rows[1]["diagonal_mm"]
    with pytest.raises(InputError, match="case 'b' do not tell how large"):
        with_missing(rows, "worst")


def test_the_file_tells_how_its_intervals_were_made():
    rows = [row("a", "p", liver=0.9), row("b", "p", liver=0.8), row("c", liver=0.7)]
    evaluation = json.loads(json.dumps(evaluation_of(rows)))
    made = evaluation["intervals"]
    assert (made["resampled"], made["units"], made["draws"]) == ("patients", 2, 10_000)
    assert patients_of(rows).tolist() == [0, 0, 1]
    assert evaluation_of(rows[1:])["intervals"]["resampled"] == "cases"
    assert evaluation["statistics"]["liver"]["dice"]["low"] == pytest.approx(0.7)
