"""What people and schedulers see of a batch while it runs: a bar, lines, JSON, or hardly anything.

Cases have names that tell nothing of patients, and they alone are shown, not where scans lie.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from medseg_pipelines.batch.events import Events, NullEvents, Planned, Tally
from medseg_pipelines.batch.ledger.ledger import Row
from medseg_pipelines.batch.messages import ScanRecord
from medseg_pipelines.batch.reports.summary import utc
from medseg_pipelines.console import Console, duration

View = Literal["auto", "quiet", "json-lines"]
Clock = Callable[[], float]
_LINE_SECONDS = 10.0
_SAMPLE_SECONDS, _SAMPLES = 1.0, 600  # the pace is that of the last ten minutes
_SHORT = 12
_MOST_IN_HAND = 6
_ENOUGH = 0.5  # of a case, to tell a pace from
_SHARES = {"read": (0.0, 0.15), "segment": (0.15, 0.7), "write": (0.85, 0.15)}
"""Where a stage begins in the work on a case, and how much of it that is, about."""


class Pace:
    """How quickly the work goes, and when it will be done.

    Parameters
    ----------
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque([(clock(), 0.0)], maxlen=_SAMPLES)

    def restart(self) -> None:
        """Begin to count now."""
        self._seen.clear()
        self._seen.append((self._clock(), 0.0))

    def made(self, cases: float) -> None:
        """So many cases are done by now, parts of cases included."""
        now = self._clock()
        if len(self._seen) > 1 and now - self._seen[-2][0] < _SAMPLE_SECONDS:
            self._seen.pop()
        self._seen.append((now, cases))

    def per_minute(self) -> float:
        """Cases per minute; 0 when not known yet."""
        (start, before), (end, cases) = self._seen[0], self._seen[-1]
        return 60.0 * max(0.0, cases - before) / (end - start) if end > start else 0.0

    def seconds_left(self, cases: float) -> float | None:
        """Time for so many cases more; None when not known yet."""
        pace = self.per_minute()
        return 60.0 * cases / pace if pace else None


class Counted(NullEvents):
    """Counts what ends, and asks the screen whether to stop; others show it.

    Parameters
    ----------
    console : Console
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._pace, self._last = Pace(clock), clock()
        self._todo, self._began = 0, False
        self._ended = {"done": 0, "refused": 0, "failed": 0}
        self._in_hand: dict[str, tuple[str, float]] = {}

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        self._todo = plan.todo
        self._pace.restart()

    def case_started(self, case: str, found: ScanRecord) -> None:
        """A case was begun."""
        del found
        self._in_hand[case] = ("waits", 0.0)

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case goes on."""
        if not self._began:  # what workers need to start is no measure of the pace
            self._began = True
            self._pace.restart()
        self._in_hand[case] = (stage, done / total if total else 0.0)
        self._pace.made(self._made())

    def case_ended(self, row: Row) -> None:
        """A case ended."""
        self._in_hand.pop(row.case, None)
        if row.state in self._ended:  # others wait to be tried again
            self._ended[row.state] += 1
        self._pace.made(self._made())

    def check(self) -> None:
        """Raise `Cancelled` when the person has asked to stop."""
        self._console.check()

    def _count(self) -> int:
        return sum(self._ended.values())

    def _made(self) -> float:
        """Cases that ended, and parts of those in hand."""
        shares = ((*_SHARES.get(stage, (0.0, 0.0)), part) for stage, part in self._in_hand.values())
        return self._count() + sum(start + share * part for start, share, part in shares)

    def _is_time(self) -> bool:
        """Whether the last line is old enough."""
        if self._clock() - self._last < _LINE_SECONDS:
            return False
        self._last = self._clock()
        return True

    def _counts(self) -> str:
        """Done, refused and failed so far."""
        return ", ".join(f"{count} {state}" for state, count in self._ended.items())

    def _pace_words(self) -> str:
        """Pace and time left."""
        left = self._pace.seconds_left(self._todo - self._made())
        if left is None or self._made() < _ENOUGH:
            return ""
        eta = f", about {duration(left)} left" if left > 0 else ""
        return f"{self._pace.per_minute():.1f} cases/min{eta}"

    def _hand_words(self) -> str:
        """Cases in hand, and how far they are."""
        shown = list(self._in_hand.items())[:_MOST_IN_HAND]
        words = [
            f"{case[:_SHORT]} {stage}{f' {100 * part:.0f} %' if part else ''}"
            for case, (stage, part) in shown
        ]
        more = len(self._in_hand) - len(shown)
        return ", ".join(words) + (f" and {more} more" if more else "")


class Lines(Counted):
    """Lines for a log: the plan, each refusal and failure, and now and then how far it is."""

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        if self._is_time():
            self._console.print(f"  searching: {done} of {total} files")

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        super().planned(plan)
        self._console.print(plan_words(plan))

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case goes on."""
        super().case_progress(case, stage, done, total)
        if self._is_time():
            self._say_how_far()

    def case_ended(self, row: Row) -> None:
        """A case ended."""
        super().case_ended(row)
        if row.state != "done":
            self._console.print(ended_words(row))
        if self._is_time():
            self._say_how_far()

    def told(self, message: str) -> None:
        """Something that a person should know."""
        self._console.print(f"Note:   {message}")

    def finished(self, tally: Tally) -> None:
        """The run is over."""
        self._console.print(tally_words(tally))

    def _say_how_far(self) -> None:
        so_far = f"{self._count()} of {self._todo}"
        parts = (so_far, self._counts(), self._pace_words(), self._hand_words())
        self._console.print("  " + "; ".join(part for part in parts if part))


class Bar(Lines):
    """The same on a terminal: a bar over all cases, and below it pace and cases in hand.

    Parameters
    ----------
    console : Console
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console, clock)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=None))
        self._bars = Bars(*columns, console=console.rich, expand=True, auto_refresh=False)
        self._task = self._bars.add_task("searching", total=None)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show it while the block runs."""
        with Live(get_renderable=self.picture, console=self._console.rich, transient=True):
            yield

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        self._bars.update(
            self._task,
            completed=done,
            total=total,
            description=f"searching, {done} of {total} files",
        )

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        super().planned(plan)
        self._bars.reset(self._task, total=max(1, plan.todo))

    def picture(self) -> RenderableType:
        """What stands on the terminal now."""
        if not self._todo:
            return self._bars
        so_far = f"{self._count()} of {self._todo} cases"
        self._bars.update(self._task, completed=self._made(), description=so_far)
        below = "; ".join(part for part in (self._counts(), self._pace_words()) if part)
        return Group(self._bars, Text(f"{below}\n{self._hand_words()}", style="dim"))

    def _say_how_far(self) -> None:
        """The bar says so."""


class Quiet(Counted):
    """One line at the end."""

    def finished(self, tally: Tally) -> None:
        """The run is over."""
        self._console.print(tally_words(tally))


class JsonLines(Counted):
    """One JSON object in a line for each event."""

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        if self._is_time():
            self._tell("searching", files=done, of=total)

    def planned(self, plan: Planned) -> None:
        """The search is over."""
        super().planned(plan)
        self._tell("planned", todo=plan.todo, **msgspec.structs.asdict(plan))

    def case_started(self, case: str, found: ScanRecord) -> None:
        """A case was begun."""
        super().case_started(case, found)
        self._tell("case_started", case=case)

    def case_progress(self, case: str, stage: str, done: int, total: int) -> None:
        """A case goes on."""
        super().case_progress(case, stage, done, total)
        if not total:
            self._tell("stage", case=case, stage=stage)
        if self._is_time():
            self._tell_how_far()

    def case_ended(self, row: Row) -> None:
        """A case ended."""
        super().case_ended(row)
        self._tell(
            "case_ended",
            case=row.case,
            state=row.state,
            code=row.code,
            message=row.message,
            attempts=row.attempts,
            folder=row.folder if row.state == "done" else "",
            seconds=row.seconds,
            volumes_ml=row.volumes_ml,
            warnings=row.warnings,
        )
        if self._is_time():
            self._tell_how_far()

    def told(self, message: str) -> None:
        """Something that a person should know."""
        self._tell("note", message=message)

    def finished(self, tally: Tally) -> None:
        """The run is over."""
        counts = msgspec.structs.asdict(tally)
        del counts["planned"]
        self._tell("finished", **counts)

    def _tell_how_far(self) -> None:
        left = self._pace.seconds_left(self._todo - self._made())
        self._tell(
            "progress",
            **self._ended,
            todo=self._todo,
            in_hand=list(self._in_hand),
            cases_per_minute=round(self._pace.per_minute(), 2),
            seconds_left=None if left is None else round(left),
        )

    def _tell(self, event: str, **more: Any) -> None:
        line = {"event": event, "at": utc(time.time()), **more}
        self._console.print(msgspec.json.encode(line).decode())


@contextmanager
def watching(view: View, console: Console) -> Iterator[Events]:
    """The events that show a run in a way.

    Parameters
    ----------
    view : {"auto", "quiet", "json-lines"}
        ``auto`` is a bar on a terminal and lines elsewhere.
    console : Console

    Yields
    ------
    Events
    """
    if view == "quiet":
        yield Quiet(console)
    elif view == "json-lines":
        yield JsonLines(console)
    elif console.rich.is_terminal:
        bar = Bar(console)
        with bar.live():
            yield bar
    else:
        yield Lines(console)


def plan_words(plan: Planned) -> str:
    """One line about what there is to do."""
    parts = [
        f"{count} {words}"
        for count, words in (
            (plan.new, "new"),
            (plan.again, "to be done again"),
            (plan.left, "left from before"),
            (plan.kept, "done already"),
            (plan.elsewhere, "in hand in another run"),
            (sum(plan.refused.values()), f"refused ({code_words(plan.refused)})"),
            (sum(plan.failed.values()), f"failed before ({code_words(plan.failed)})"),
        )
        if count
    ]
    return f"Scans:  {plan.found} found; {', '.join(parts) or 'nothing to do'}"


def tally_words(tally: Tally) -> str:
    """One line about what a run came to."""
    parts = [f"{tally.done} done", f"{tally.refused} refused", f"{tally.failed} failed"]
    parts += [f"{tally.left} left"] if tally.left else []
    codes = f" ({code_words(tally.codes)})" if tally.codes else ""
    kept = f"; {tally.planned.kept} were done already" if tally.planned.kept else ""
    return f"{', '.join(parts)}{codes} in {duration(tally.seconds)}{kept}"


def ended_words(row: Row) -> str:
    """One line about a case that was refused or failed."""
    return f"  {row.case[:_SHORT]} {row.state}, {row.code}: {row.message}"


def code_words(codes: dict[str, int]) -> str:
    """How often each code, the most frequent first."""
    return ", ".join(f"{count} {code}" for code, count in codes.items())
