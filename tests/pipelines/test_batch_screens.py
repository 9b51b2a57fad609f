"""What is shown of a run, from events made up."""

import io
import json

import pytest
from rich.console import Console as RichConsole

from batch_rows import found, row
from batch_stand_ins import Clock
from medseg.errors import Cancelled
from medseg_pipelines.batch.events import Planned, Tally
from medseg_pipelines.batch.reports.console import (
    JsonLinesView,
    LogView,
    Pace,
    ProgressView,
    TerminalView,
    view_of,
)
from medseg_pipelines.batch.reports.live_tables import Tables
from medseg_pipelines.console import Console

PLAN = Planned(scans=12, new=6, left=2, kept=3, refused={"RULE": 1})


def console(*, terminal=False):
    text = io.StringIO()
    return Console(
        RichConsole(file=text, force_terminal=terminal, width=100, highlight=False)
    ), text


def play(events, clock, *, cases=4, seconds=6.0):
    """Search, plan, then a case every few seconds: done, done, done, refused, again."""
    events.searching(5, 12)
    events.planned(PLAN)
    for number in range(cases):
        one = row(number) if number % 4 < 3 else row(number, "refused", code="GAP", message="gap")
        events.case_started(one.case, found(number))
        for stage in ("read", "segment", "write"):
            events.case_progress(one.case, stage, 0, 0)
            clock.now += seconds / 3
            events.case_progress(one.case, stage, 1, 1)
        events.check()
        events.case_ended(one)
    events.on_message("a worker died")
    events.finished(Tally(planned=PLAN, done=3, refused=1, codes={"GAP": 1}, left=4, seconds=24.0))


def test_the_pace_is_that_of_the_last_minutes():
    clock = Clock()
    pace = Pace(clock)
    assert pace.per_minute() == 0
    assert pace.seconds_left(5) is None
    for second in range(1, 2001):
        clock.now += 1.0
        pace.made(second / 60 if second <= 1000 else 1000 / 60 + (second - 1000) / 6)
    assert pace.per_minute() == pytest.approx(10.0, rel=0.01)
    assert pace.seconds_left(20) == pytest.approx(120.0, rel=0.01)
    pace.restart()
    assert pace.per_minute() == 0


def test_a_log_has_the_plan_the_refusals_and_how_far_it_is():
    place, text = console()
    clock = Clock()
    play(LogView(place, clock), clock)
    lines = text.getvalue().splitlines()
    assert lines[0] == (
        "Scans:  12 found; 6 new, 2 left from before, 3 done already, 1 refused (1 RULE)"
    )
    how_far = [line for line in lines if "cases/min" in line]
    assert len(how_far) == 2
    assert "1 of 8" in how_far[0]
    assert "9.4 cases/min, about 31 s left" in how_far[1]  # 3.15 cases of 8 in 20 s
    assert sum("refused, GAP: gap" in line for line in lines) == 1
    assert "Note:   a worker died" in lines
    assert lines[-1] == "3 done, 1 refused, 0 failed, 4 left (1 GAP) in 24 s; 3 were done already"
    assert "secret" not in text.getvalue()


def test_a_terminal_has_a_bar_the_pace_and_the_case_in_hand():
    place, text = console(terminal=True)
    clock = Clock()
    bar = TerminalView(place, clock)
    with bar.live():
        bar.searching(3, 12)
        place.rich.print(bar.picture())
        bar.planned(PLAN)
        bar.case_started(row(1).case, found(1))
        clock.now += 60  # workers start
        bar.case_progress(row(1).case, "read", 0, 0)
        clock.now += 6
        bar.case_progress(row(1).case, "segment", 1, 2)
        place.rich.print(bar.picture())
        bar.case_ended(row(1))
        place.rich.print(bar.picture())
    shown = text.getvalue()
    assert "searching, 3 of 12 files" in shown
    assert "0 of 8 cases" in shown
    assert f"{row(1).case[:12]} segment 50 %" in shown
    assert "1 done, 0 refused, 0 failed; 10.0 cases/min, about 42 s left" in shown
    assert "secret" not in shown


def test_many_cases_in_hand_are_not_all_named():
    place, text = console(terminal=True)
    bar = TerminalView(place, Clock())
    bar.planned(PLAN)
    for number in range(20):
        bar.case_started(row(number).case, found(number))
    place.rich.print(bar.picture())
    assert "and 14 more" in text.getvalue()


def test_json_lines_tell_all_events_one_in_a_line():
    place, text = console()
    clock = Clock()
    play(JsonLinesView(place, clock), clock)
    told = [json.loads(line) for line in text.getvalue().splitlines()]
    names = [one["event"] for one in told]
    assert names.count("case_ended") == 4
    assert names.count("stage") == 12
    assert 1 <= names.count("progress") <= 3
    assert told[0]["todo"] == 8
    progress = next(one for one in told if one["event"] == "progress")
    assert progress["seconds_left"] > 0
    assert all(one["at"].endswith("Z") for one in told)
    assert told[-1] == {
        "event": "finished",
        "at": told[-1]["at"],
        "done": 3,
        "refused": 1,
        "failed": 0,
        "left": 4,
        "codes": {"GAP": 1},
        "seconds": 24.0,
    }


def test_quiet_says_one_line():
    place, text = console()
    clock = Clock()
    play(ProgressView(place, clock), clock)
    assert text.getvalue().splitlines() == [
        "3 done, 1 refused, 0 failed, 4 left (1 GAP) in 24 s; 3 were done already"
    ]


@pytest.mark.parametrize(
    ("view", "terminal", "kind"),
    [
        ("quiet", True, ProgressView),
        ("json-lines", True, JsonLinesView),
        ("auto", False, LogView),
        ("auto", True, TerminalView),
    ],
)
def test_the_view_is_chosen_by_wish_and_terminal(view, terminal, kind):
    place, _ = console(terminal=terminal)
    with view_of(view, place) as events:
        assert type(events) is kind
        place.stopping = True
        with pytest.raises(Cancelled):
            events.check()


def test_what_waits_again_counts_as_nothing():
    place, _ = console()
    lines = LogView(place, Clock())
    lines.planned(PLAN)
    lines.case_ended(row(1, "waiting", code="WORKER_DIED", message="it died"))
    lines.case_ended(row(1))
    assert lines._counts() == "1 done, 0 refused, 0 failed"


def test_tables_pass_everything_on_and_write_nothing_without_a_ledger(tmp_path):
    place, text = console()
    clock = Clock()
    tables = Tables(tmp_path, ["batch"])
    play(JsonLinesView(place, clock, tables), clock)
    assert tables.write() == ""
    assert len(text.getvalue().splitlines()) > 15
    assert not list(tmp_path.iterdir())
