"""Summary, outliers and report, from rows made up."""

import csv
import datetime as dt
import re

import numpy as np
import pytest
from pyarrow import parquet

from batch_rows import BEGAN, row
from medseg.errors import WriteError
from medseg_pipelines.batch import report as report_module
from medseg_pipelines.batch.outliers import outliers, usual_volumes
from medseg_pipelines.batch.report import MOST_ROWS, write_report
from medseg_pipelines.batch.summary import FIXED, NowAndThen, refresh, utc, write_summary

ROWS = [
    row(1), row(2, warnings=("odd", "odder"), attempts=1),
    row(3, "refused", code="RULE", message='so, and "so"'), row(4, "waiting"),
    row(5, "failed", code="BROKE", message="it broke", attempts=3),
]  # fmt: skip


def test_columns_are_stable_and_typed(tmp_path):
    write_summary(tmp_path, ROWS)
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*FIXED, "liver_ml", "left kidney_ml"]
    assert [one["state"] for one in rows] == ["done", "done", "refused", "waiting", "failed"]
    assert rows[2]["message"] == 'so, and "so"'
    assert (rows[1]["warnings"], rows[1]["seconds"], rows[1]["attempts"]) == ("2", "3.95", "1")
    assert rows[3]["ended"] == rows[3]["liver_ml"] == rows[3]["folder"] == ""
    table = parquet.read_table(tmp_path / "summary.parquet")
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert kinds == {
        **dict.fromkeys(FIXED, "string"), "seconds": "double", "attempts": "int32",
        "warnings": "int32", "ended": "timestamp[ms, tz=UTC]", "liver_ml": "double",
        "left kidney_ml": "double",
    }  # fmt: skip
    first = table.to_pylist()[0]
    assert first["liver_ml"] == 1510.0
    assert first["ended"] == dt.datetime.fromtimestamp(BEGAN + 8, dt.UTC)
    assert table.to_pylist()[3]["ended"] is None


def test_no_text_of_a_scan_is_in_the_tables(tmp_path):
    write_summary(tmp_path, ROWS)
    write_report(tmp_path, ROWS)
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()
        assert b"1.2.3" not in path.read_bytes()


def test_a_table_that_says_the_same_is_not_written_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    refresh(path, b"one")
    stamp = path.stat().st_mtime_ns
    refresh(path, b"one")
    assert path.stat().st_mtime_ns == stamp
    refresh(path, b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(WriteError):
        refresh(tmp_path / "a" / "b", b"")


def test_utc():
    assert utc(0) == ""
    assert utc(1_700_000_000.9) == "2023-11-14T22:13:20Z"


def test_what_is_repeated_costs_a_twentieth_at_most(monkeypatch):
    now, written = [0.0], []

    def write():
        written.append(now[0])
        now[0] += 10.0

    monkeypatch.setattr("medseg_pipelines.batch.summary.time.monotonic", lambda: now[0])
    now_and_then = NowAndThen(write, least_s=30.0)
    for second in range(1000):
        now[0] = max(now[0], float(second))
        now_and_then()
    assert written == [30.0, 240.0, 450.0, 660.0, 870.0]


def volumes(*liver):
    return [row(number, volumes_ml={"liver": float(ml)}) for number, ml in enumerate(liver)]


def test_outliers_by_the_median_absolute_deviation():
    rows = volumes(10, 11, 12, 13, 14, 40, 3)
    (usual,) = usual_volumes(rows)
    # by hand: median 12, distances 2 1 0 1 2 28 9, their median 2
    assert (usual.cases, usual.median_ml, usual.empty) == (7, 12.0, 0)
    assert usual.deviation_ml == pytest.approx(2 * 1.4826)
    far = outliers(rows, [usual])
    assert [(one.ml, round(one.z, 3)) for one in far] == [(40.0, round(28 / 2.9652, 3))]


def test_equal_volumes_have_the_mean_deviation_or_no_outliers():
    rows = volumes(5, 5, 5, 5, 5, 5, 5, 9)
    (usual,) = usual_volumes(rows)
    assert usual.deviation_ml == pytest.approx(1.253314 * 4 / 8)
    assert [one.ml for one in outliers(rows, [usual])] == [9.0]
    same = volumes(*[5] * 8)
    assert not outliers(same, usual_volumes(same))


def test_few_cases_and_other_models_are_not_compared():
    few = volumes(1, 1, 1, 100)
    assert not outliers(few, usual_volumes(few))
    mixed = [
        *volumes(10, 11, 12, 13, 14),
        *(row(n, model="n" * 64, volumes_ml={"liver": 100.0 + n}) for n in range(5)),
    ]
    assert len(usual_volumes(mixed)) == 2
    assert not outliers(mixed, usual_volumes(mixed))


def test_normal_volumes_are_seldom_outliers():
    rows = volumes(*np.random.default_rng(0).normal(1500, 200, 2000))
    assert len(outliers(rows, usual_volumes(rows))) < 10


def with_pictures(folder, rows):
    for one in rows:
        place = folder / one.folder
        place.mkdir(parents=True)
        (place / "thumbnail.png").write_bytes(b"\x89PNG" + one.case.encode())
    return rows


def shown(html):
    return re.findall(r"A slice of case (\w+)", html)


def test_outliers_are_shown_first_then_the_newest(tmp_path):
    rows = with_pictures(tmp_path, volumes(*[100 + n for n in range(9)], 900))
    rows = [*rows[-1:], *rows[:-1]]
    html = write_report(tmp_path, rows).read_text()
    assert shown(html) == [rows[0].case[:12], *(one.case[:12] for one in rows[:0:-1])]
    assert "+2" in html.split("Outliers by volume")[1].split("</table>")[0]


def test_pictures_are_bounded_by_number_and_size(tmp_path, monkeypatch):
    rows = with_pictures(tmp_path, volumes(*range(20)))
    monkeypatch.setattr(report_module, "MOST_PICTURES", 7)
    assert len(shown(write_report(tmp_path, rows).read_text())) == 7
    monkeypatch.setattr(report_module, "MOST_BYTES", 36 * 3 + 1)
    html = write_report(tmp_path, rows).read_text()
    assert len(shown(html)) == 3
    assert "17 finished cases are not shown" in html


def test_the_report_is_bounded_and_escaped(tmp_path):
    many = [
        row(n, "failed", code="BROKE", message="<script>alert(1)</script>")
        for n in range(MOST_ROWS + 5)
    ]
    refused = [row(900 + n, "refused", code="RULE", message="no") for n in range(3)]
    refused += [row(950, "refused", code="FEW_SLICES", message="scout")]
    html = write_report(tmp_path, [*many, *refused]).read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == MOST_ROWS
    assert "and 5 more" in html
    codes = html.split("Refusals by code")[1]
    assert codes.index("RULE") < codes.index("FEW_SLICES")


def test_an_empty_batch_has_a_report(tmp_path):
    assert "Batch of 0 cases" in write_report(tmp_path, []).read_text()
