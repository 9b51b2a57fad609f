"""What people and schedulers see of a batch while it runs: a bar, lines, JSON, or hardly anything.

Cases have names that tell nothing of patients, and they alone are shown, not where scans lie.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from medseg_pipelines.batch.events import Events, Planned, Tally
from medseg_pipelines.batch.messages import Row, ScanRecord
from medseg_pipelines.batch.reports.live_tables import Tables
from medseg_pipelines.batch.reports.summary import utc
from medseg_pipelines.console import Console, duration

View = Literal["auto", "quiet", "json-lines"]
Clock = Callable[[], float]
_LINE_SECONDS = 10.0
_SAMPLE_SECONDS, _SAMPLES = 1.0, 600  # the pace is that of the last ten minutes
_SHORT = 12
_MOST_SHOWN = 6
_ENOUGH = 0.5  # of a case, to tell a pace from
_SHARES = {"read": (0.0, 0.15), "segment": (0.15, 0.7), "write": (0.85, 0.15)}
"""Where a stage begins in the work on a case, and how much of it that is, about."""


class Pace:
    """How quickly the work goes, and when it will be done."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]]
        self.restart()

    def restart(self) -> None:
        """Begin to count now."""
        self._samples = deque([(self._clock(), 0.0)], maxlen=_SAMPLES)

    def made(self, cases: float) -> None:
        """So many cases are done by now, parts of cases included."""
        now = self._clock()
        if len(self._samples) > 1 and now - self._samples[-2][0] < _SAMPLE_SECONDS:
            self._samples.pop()
        self._samples.append((now, cases))

    def per_minute(self) -> float:
        """Cases per minute; 0 when not known yet."""
        (start, before), (end, cases) = self._samples[0], self._samples[-1]
        return 60.0 * max(0.0, cases - before) / (end - start) if end > start else 0.0

    def seconds_left(self, cases: float) -> float | None:
        """Time for so many cases more; None when not known yet."""
        pace = self.per_minute()
        return 60.0 * cases / pace if pace else None


class ProgressView(Events):
    """One line at the end; subclasses show more of what it counts, and it asks whether to stop."""

    def __init__(
        self, console: Console, clock: Clock = time.monotonic, tables: Tables | None = None
    ) -> None:
        self._console, self._clock, self._tables = console, clock, tables
        self._pace, self._last_line = Pace(clock), clock()
        self._todo, self._began = 0, False
        self._ended = {"done": 0, "refused": 0, "failed": 0}
        self._in_flight: dict[str, tuple[str, float]] = {}

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        if self._tables is not None:
            self._tables.planned(plan)
        self._todo = plan.todo
        self._pace.restart()

    def case_started(self, case: str, scan: ScanRecord) -> None:
        """A case was begun."""
        del scan
        self._in_flight[case] = ("waits", 0.0)

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case goes on."""
        if not self._began:  # what workers need to start is no measure of the pace
            self._began = True
            self._pace.restart()
        self._in_flight[case] = (stage, done / total if total else 0.0)
        self._pace.made(self._made())
        if self._is_time():
            self._show_progress()

    def case_ended(self, row: Row) -> None:
        """A case ended."""
        if self._tables is not None:
            self._tables.case_ended()
        self._in_flight.pop(row.case, None)
        if row.state in self._ended:  # others wait to be tried again
            self._ended[row.state] += 1
        self._pace.made(self._made())
        self._show_case(row)
        if self._is_time():
            self._show_progress()

    def check(self) -> None:
        """Raise `Cancelled` when the person has asked to stop."""
        self._console.check()

    def finished(self, tally: Tally) -> None:
        """The run is over."""
        self._console.print(tally_line(tally))

    def _show_case(self, row: Row) -> None:
        """Show how a case ended."""

    def _show_progress(self) -> None:
        """Show how far the run is."""

    def _made(self) -> float:
        """Cases that ended, and parts of those in flight."""
        shares = [(*_SHARES.get(stage, (0.0, 0.0)), p) for stage, p in self._in_flight.values()]
        return sum(self._ended.values()) + sum(begin + share * p for begin, share, p in shares)

    def _is_time(self) -> bool:
        """Whether the last line is old enough."""
        if self._clock() - self._last_line < _LINE_SECONDS:
            return False
        self._last_line = self._clock()
        return True


class LogView(ProgressView):
    """Lines for a log: the plan, each refusal and failure, and now and then how far it is."""

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        if self._is_time():
            self._console.print(f"  searching: {done} of {total} files")

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        super().planned(plan)
        self._console.print(plan_line(plan))

    def on_message(self, message: str) -> None:
        """Something that a person should know."""
        self._console.print(f"Note:   {message}")

    def _show_case(self, row: Row) -> None:
        if row.state != "done":
            case = f"{row.case[:_SHORT]} {row.state}"
            self._console.print(f"  {case}, {row.code}: {row.message}")

    def _show_progress(self) -> None:
        so_far = f"{sum(self._ended.values())} of {self._todo}"
        parts = (so_far, self._counts(), self._pace_text(), self._in_flight_text())
        self._console.print("  " + "; ".join(filter(None, parts)))

    def _counts(self) -> str:
        """Done, refused and failed so far."""
        return ", ".join(f"{count} {state}" for state, count in self._ended.items())

    def _pace_text(self) -> str:
        left = self._pace.seconds_left(self._todo - self._made())
        if left is None or self._made() < _ENOUGH:
            return ""
        eta = f", about {duration(left)} left" if left > 0 else ""
        return f"{self._pace.per_minute():.1f} cases/min{eta}"

    def _in_flight_text(self) -> str:
        """Cases in flight, and how far they are."""
        text = ", ".join(
            f"{case[:_SHORT]} {stage}{f' {100 * part:.0f} %' if part else ''}"
            for case, (stage, part) in itertools.islice(self._in_flight.items(), _MOST_SHOWN)
        )
        more = len(self._in_flight) - _MOST_SHOWN
        return text + (f" and {more} more" if more > 0 else "")


class TerminalView(LogView):
    """The same on a terminal: a bar over all cases, and below it pace and cases in flight."""

    def __init__(
        self, console: Console, clock: Clock = time.monotonic, tables: Tables | None = None
    ) -> None:
        super().__init__(console, clock, tables)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=None))
        self._bar = Progress(*columns, console=console.rich, expand=True, auto_refresh=False)
        self._task = self._bar.add_task("searching", total=None)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show it while the block runs."""
        with Live(get_renderable=self.picture, console=self._console.rich, transient=True):
            yield

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        text = f"searching, {done} of {total} files"
        self._bar.update(self._task, completed=done, total=total, description=text)

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        super().planned(plan)
        self._bar.reset(self._task, total=max(1, plan.todo))

    def picture(self) -> RenderableType:
        """What stands on the terminal now."""
        if not self._todo:
            return self._bar
        so_far = f"{sum(self._ended.values())} of {self._todo} cases"
        self._bar.update(self._task, completed=self._made(), description=so_far)
        below = "; ".join(filter(None, (self._counts(), self._pace_text())))
        return Group(self._bar, Text(f"{below}\n{self._in_flight_text()}", style="dim"))

    def _show_progress(self) -> None:
        """The bar says so."""


class JsonLinesView(ProgressView):
    """One JSON object in a line for each event."""

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        if self._is_time():
            self._print("searching", files=done, of=total)

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        super().planned(plan)
        self._print("planned", todo=plan.todo, **msgspec.to_builtins(plan))

    def case_started(self, case: str, scan: ScanRecord) -> None:
        """A case was begun."""
        super().case_started(case, scan)
        self._print("case_started", case=case)

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case goes on."""
        if not total:
            self._print("stage", case=case, stage=stage)
        super().case_progress(case, stage, done, total)

    def on_message(self, message: str) -> None:
        """Something that a person should know."""
        self._print("note", message=message)

    def finished(self, tally: Tally) -> None:
        """The run is over."""
        counts = msgspec.structs.asdict(tally)
        self._print("finished", **{name: counts[name] for name in counts if name != "planned"})

    def _show_case(self, row: Row) -> None:
        names = ("case", "state", "code", "message", "attempts", "seconds", "volumes_ml")
        values = {name: getattr(row, name) for name in (*names, "warnings")}
        folder = row.folder if row.state == "done" else ""
        self._print("case_ended", **values, folder=folder)

    def _show_progress(self) -> None:
        left = self._pace.seconds_left(self._todo - self._made())
        self._print(
            "progress",
            **self._ended,
            todo=self._todo,
            in_hand=list(self._in_flight),
            cases_per_minute=round(self._pace.per_minute(), 2),
            seconds_left=None if left is None else round(left),
        )

    def _print(self, event: str, **values: Any) -> None:
        line = {"event": event, "at": utc(time.time()), **values}
        self._console.print(msgspec.json.encode(line).decode())


@contextmanager
def view_of(view: View, console: Console, tables: Tables | None = None) -> Iterator[Events]:
    """What shows a run; ``auto`` is a bar on a terminal and lines elsewhere."""
    if view == "quiet":
        yield ProgressView(console, tables=tables)
    elif view == "json-lines":
        yield JsonLinesView(console, tables=tables)
    elif console.rich.is_terminal:
        terminal = TerminalView(console, tables=tables)
        with terminal.live():
            yield terminal
    else:
        yield LogView(console, tables=tables)


def plan_line(plan: Planned) -> str:
    """One line about what there is to do."""
    counts = (
        (plan.new, "new"),
        (plan.again, "to be done again"),
        (plan.left, "left from before"),
        (plan.kept, "done already"),
        (sum(plan.refused.values()), f"refused ({_by_code(plan.refused)})"),
        (sum(plan.failed.values()), f"failed before ({_by_code(plan.failed)})"),
    )
    parts = [f"{count} {text}" for count, text in counts if count]
    return f"Scans:  {plan.scans} found; {', '.join(parts) or 'nothing to do'}"


def tally_line(tally: Tally) -> str:
    """One line about what a run came to."""
    parts = [f"{tally.done} done", f"{tally.refused} refused", f"{tally.failed} failed"]
    parts += [f"{tally.left} left"] if tally.left else []
    codes = f" ({_by_code(tally.codes)})" if tally.codes else ""
    kept = f"; {tally.planned.kept} were done already" if tally.planned.kept else ""
    return f"{', '.join(parts)}{codes} in {duration(tally.seconds)}{kept}"


def _by_code(codes: dict[str, int]) -> str:
    return ", ".join(f"{count} {code}" for code, count in codes.items())
