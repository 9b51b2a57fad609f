"""Summary, outliers and report, from rows made up."""

import csv
import datetime as dt
import re
import threading

import numpy as np
import pytest
from pyarrow import parquet

from batch_rows import BEGAN, found, row
from batch_stand_ins import World
from medseg.errors import WriteError
from medseg_pipelines.batch.ledger.ledger import AllCases
from medseg_pipelines.batch.reports import live_tables
from medseg_pipelines.batch.reports import report as report_module
from medseg_pipelines.batch.reports.live_tables import Debounced, Tables
from medseg_pipelines.batch.reports.report import MOST_ROWS, Volumes, write_report
from medseg_pipelines.batch.reports.summary import FIXED, refreshed, utc, write_summary

ROWS = [
    row(1),
    row(2, warnings=("odd", "odder"), attempts=1),
    row(3, "refused", code="RULE", message='so, and "so"'),
    row(4, "waiting"),
    row(5, "failed", code="BROKE", message="it broke", attempts=3),
]


def numbered(rows):
    return list(enumerate(rows, start=1))


def test_columns_are_stable_and_typed(tmp_path):
    write_summary(tmp_path, numbered(ROWS))
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
        **dict.fromkeys(FIXED, "string"),
        "seconds": "double",
        "attempts": "int32",
        "warnings": "int32",
        "ended": "timestamp[ms, tz=UTC]",
        "liver_ml": "double",
        "left kidney_ml": "double",
    }
    first = table.to_pylist()[0]
    assert first["liver_ml"] == 1510.0
    assert first["ended"] == dt.datetime.fromtimestamp(BEGAN + 8, dt.UTC)
    assert table.to_pylist()[3]["ended"] is None


def test_no_text_of_a_scan_is_in_the_tables(tmp_path):
    write_summary(tmp_path, numbered(ROWS))
    write_report(tmp_path, numbered(ROWS))
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()
        assert b"1.2.3" not in path.read_bytes()


def test_results_called_as_their_scans_say_which_these_are(tmp_path):
    named = row(1, found=found(1, folder="a b/case_007.*"))
    write_summary(tmp_path, numbered([named, ROWS[1]]))
    rows = parquet.read_table(tmp_path / "summary.parquet").to_pylist()
    told = [(one["source"], one["series"], one["folder"]) for one in rows]
    assert told == [("/archive/secret-1", "1.2.3", "a b/case_007.*"), ("", "", ROWS[1].folder)]
    many = [row(n, found=found(n, folder=f"a b/c-{n}.*"), warnings=("odd",)) for n in range(3)]
    page = write_report(tmp_path, numbered(many)).read_text()
    assert '<a href="a%20b/"><code>a b/c-2</code></a>' in page


def test_a_table_that_says_the_same_is_not_written_again(tmp_path):
    path = tmp_path / "a"
    for text, is_new in (("one", True), ("one", False), ("two", True)):
        before = path.stat().st_ino if path.exists() else None
        with refreshed(path) as scratch:
            scratch.write_text(text)
        assert path.read_text() == text
        assert (path.stat().st_ino != before) == is_new
    with pytest.raises(WriteError), refreshed(path / "b") as scratch:
        scratch.write_text("three")
    with pytest.raises(ZeroDivisionError), refreshed(path) as scratch:
        scratch.write_text(f"{1 / 0}")
    assert path.read_text() == "two"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_utc():
    assert utc(0) == ""
    assert utc(1_700_000_000.9) == "2023-11-14T22:13:20Z"


def test_what_is_repeated_costs_a_twentieth_at_most(monkeypatch):
    now, written = [0.0], []

    def write():
        written.append(now[0])
        now[0] += 10.0

    monkeypatch.setattr("medseg_pipelines.batch.reports.live_tables.time.monotonic", lambda: now[0])
    now_and_then = Debounced(write, least_s=30.0)
    for second in range(1000):
        now[0] = max(now[0], float(second))
        now_and_then()
        now_and_then.wait()
    assert written == [30.0, 240.0, 450.0, 660.0, 870.0]


def test_a_run_does_not_wait_for_its_tables():
    go, done = threading.Event(), []
    now_and_then = Debounced(lambda: (go.wait(), done.append(1)), least_s=0.0)
    now_and_then()
    now_and_then()
    assert not done
    go.set()
    now_and_then.wait()
    assert done == [1]


def test_tables_are_left_alone_while_the_ledger_says_the_same(tmp_path, monkeypatch):
    world = World.at(tmp_path)
    with world.ledger() as ledger:
        world.queue(ledger).enqueue([(found(number), None) for number in range(3)])
    written = []
    monkeypatch.setattr(live_tables, "write_report", lambda *_: written.append(1))
    (tmp_path / "report.html").touch()
    for expected in (1, 1):
        Tables(tmp_path).write()
        assert len(written) == expected
    (tmp_path / "summary.csv").unlink()
    Tables(tmp_path).write()
    assert len(written) == 2
    with world.ledger() as ledger, ledger.writing() as db:
        db.execute("UPDATE cases SET state = 'failed' WHERE rowid = 2")
    Tables(tmp_path).write()
    assert len(written) == 3
    assert ",failed," in (tmp_path / "summary.csv").read_text()


def volumes(*liver):
    return [row(number, volumes_ml={"liver": float(ml)}) for number, ml in enumerate(liver)]


def gathered(rows):
    volumes = Volumes()
    for number, one in numbered(rows):
        volumes.add(number, one)
    return volumes.ranges(), volumes.outliers()


def test_outliers_by_the_median_absolute_deviation():
    (usual,), far = gathered(volumes(10, 11, 12, 13, 14, 40, 3))
    # by hand: median 12, distances 2 1 0 1 2 28 9, their median 2
    assert (usual.cases, usual.median_ml, usual.empty) == (7, 12.0, 0)
    assert usual.deviation_ml == pytest.approx(2 * 1.4826)
    assert [(one.number, one.ml) for one in far] == [(6, 40.0)]
    assert far[0].z == pytest.approx(28 / 2.9652)


def test_equal_volumes_have_the_mean_deviation_or_no_outliers():
    (usual,), far = gathered(volumes(5, 5, 5, 5, 5, 5, 5, 9))
    assert usual.deviation_ml == pytest.approx(1.253314 * 4 / 8)
    assert [one.ml for one in far] == [9.0]
    assert not gathered(volumes(*[5] * 8))[1]


def test_few_cases_and_other_models_are_not_compared():
    assert not gathered(volumes(1, 1, 1, 100))[1]
    mixed = [
        *volumes(10, 11, 12, 13, 14),
        *(row(n, model="n" * 64, volumes_ml={"liver": 100.0 + n}) for n in range(5)),
    ]
    usual, far = gathered(mixed)
    assert [one.median_ml for one in usual] == [12.0, 102.0]
    assert not far


def test_normal_volumes_are_seldom_outliers():
    _, far = gathered(volumes(*np.random.default_rng(0).normal(1500, 200, 2000)))
    assert len(far) < 10


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
    html = write_report(tmp_path, numbered(rows)).read_text()
    assert shown(html) == [rows[0].case[:12], *(one.case[:12] for one in rows[:0:-1])]
    assert "+2" in html.split("Outliers by volume")[1].split("</table>")[0]


def test_pictures_are_bounded_by_number_and_size(tmp_path, monkeypatch):
    rows = with_pictures(tmp_path, volumes(*range(20)))
    monkeypatch.setattr(report_module, "MOST_PICTURES", 7)
    assert len(shown(write_report(tmp_path, numbered(rows)).read_text())) == 7
    monkeypatch.setattr(report_module, "MOST_BYTES", 36 * 3 + 1)
    html = write_report(tmp_path, numbered(rows)).read_text()
    assert len(shown(html)) == 3
    assert "17 finished cases are not shown" in html


def test_the_report_is_bounded_and_escaped(tmp_path):
    many = [
        row(n, "failed", code="BROKE", message="<script>alert(1)</script>")
        for n in range(MOST_ROWS + 5)
    ]
    refused = [row(900 + n, "refused", code="RULE", message="no") for n in range(3)]
    refused += [row(950, "refused", code="FEW_SLICES", message="scout")]
    html = write_report(tmp_path, numbered([*many, *refused])).read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == MOST_ROWS
    assert "and 5 more" in html
    codes = html.split("Refusals by code")[1]
    assert codes.index("RULE") < codes.index("FEW_SLICES")


def test_an_empty_batch_has_a_report(tmp_path):
    assert "Batch of 0 cases" in write_report(tmp_path, []).read_text()


def test_a_batch_of_thousands_is_read_in_portions(tmp_path):
    world = World.at(tmp_path)
    with world.ledger() as ledger:
        world.queue(ledger).enqueue([(found(number), None) for number in range(4500)])
        with ledger.writing() as db:
            db.execute("UPDATE cases SET superseded_by = 'x' WHERE rowid % 9 = 0")
        rows = ledger.rows()
    cases = AllCases(tmp_path)
    assert [one.case for _, one in cases] == [one.case for one in rows]
    assert len(list(AllCases(tmp_path, superseded=True))) == 4500
    assert len({number for number, _ in cases}) == 4000
