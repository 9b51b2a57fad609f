"""What happened in a run, step by step: history.jsonl and TensorBoard scalars."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
        from tensorboardX import SummaryWriter

        self.path = run / FILE
        earlier = [record for record in read_history(run) if record["step"] <= after]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in earlier))
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=after or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.board.close()

    def add(self, record: dict[str, Any]) -> None:
        """Add one record; it has a ``"step"``, other numbers become scalars."""
        with self.path.open("a") as stream:
            stream.write(json.dumps(record) + "\n")
        for name, value in record.items():
            values = value if isinstance(value, dict) else {"": value}
            for part, number in values.items():
                if name != "step" and number is not None:
                    self.board.add_scalar(f"{name}/{part}".rstrip("/"), number, record["step"])


def read_history(run: Path) -> list[dict[str, Any]]:
    """The records of a run, oldest first; a line cut short by a crash is left out."""
    path = run / FILE
    if not path.is_file():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if "dice" in record:
            record["dice"] = mean_named(record["dice"])
        records.append(record)
    return records
