"""What happened in a run, step by step: history.jsonl and TensorBoard scalars."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from medseg.errors import WriteError, reason
from medseg.metrics.scores import mean_named
from medseg.writing import write_text

FILE = "history.jsonl"


class History:
    """Appends records to ``history.jsonl`` and their numbers to TensorBoard.

    Parameters
    ----------
    run : Path
    after : int
        Records of later steps are dropped: a resumed run takes those steps again.
    """

    def __init__(self, run: Path, *, after: int = 0) -> None:
        self.path = run / FILE
        earlier = [record for record in read_history(run) if record["step"] <= after]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in earlier))
        self.board = _Board(run / "tensorboard", after=after)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # what did not reach the disk was told by `add`
            self.board.close()

    def add(self, record: dict[str, Any]) -> None:
        """Add one record; it has a ``"step"``, other numbers become scalars."""
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            self._draw(record)
        except OSError as error:
            raise WriteError(f"cannot write the history '{self.path}': {reason(error)}") from error

    def flush(self) -> None:
        """Let TensorBoard see what was added."""
        try:
            self.board.flush()
        except OSError as error:
            raise WriteError(f"cannot write to '{self.path.parent}': {reason(error)}") from error

    def _draw(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            values = value if isinstance(value, dict) else {"": value}
            for part, number in values.items():
                if name != "step" and number is not None:
                    self.board.add(f"{name}/{part}".rstrip("/"), number, record["step"])


class NoHistory(History):
    """That of a process which leaves the writing to another."""

    def __init__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""

    def add(self, record: dict[str, Any]) -> None:
        """Pass a record over."""

    def flush(self) -> None:
        """Show nothing."""


class _Board:
    """TensorBoard's event file, written by the thread that trains, so that a full disk is heard of.

    Parameters
    ----------
    folder : Path
    after : int
        TensorBoard forgets what it knows of later steps.
    """

    def __init__(self, folder: Path, *, after: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        try:
            folder.mkdir(exist_ok=True)
            self._file = EventsWriter(str(folder / "events"), f".{after}")
            if after:
                self._write(step=after + 1, session_log=SessionLog(status=SessionLog.START))
        except OSError as error:
            raise WriteError(f"cannot write to '{folder}': {reason(error)}") from error

    def add(self, name: str, number: float, step: int) -> None:
        """Add a point to a curve."""
        from tensorboardX.summary import scalar

        self._write(step=step, summary=scalar(name, number))

    def _write(self, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._file.write_event(Event(wall_time=time.time(), **content))

    def flush(self) -> None:
        """Let others see what was added."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()


def read_history(run: Path) -> list[dict[str, Any]]:
    """The records of a run, oldest first; a line cut short by a crash is left out."""
    path = run / FILE
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if "dice" in record:
            record["dice"] = mean_named(record["dice"])
        records.append(record)
    return records
