"""What a panel is doing: one job in the background, its bar, its message, and Cancel."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from medseg.runtime.progress import Progress as ProgressCallback
from medseg_napari.jobs import Done, Event, Failed, Partial, Progress, Stopped
from medseg_napari.panels.form_parts import wrapped_label
from medseg_napari.panels.looks import message_color
from medseg_napari.progress_text import describe
from medseg_napari.workers import JobRunner

logger = logging.getLogger(__name__)
_SIGNS = {"info": "", "warning": "\N{WARNING SIGN} ", "error": "\N{MULTIPLICATION X} "}
_LINES = 2


def _ignore(_result: Any) -> None:
    """What happens with results that nobody waits for."""


class JobWidget(QWidget):  # type: ignore[misc]
    """Runs one job at a time and shows how it goes; `changed` is emitted with whether it runs.

    A person who closes the window while it runs is told of `what`.
    """

    changed = Signal(bool)

    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.message = wrapped_label()
        self.message.setMinimumHeight(_LINES * self.message.fontMetrics().lineSpacing())
        self.message.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar = QProgressBar()
        self.cancel = QPushButton("Cancel")
        self.stopped_text = "stopped"
        self.runner = JobRunner(self)
        self.runner.what = what
        self._done: Callable[[Any], None] = _ignore
        self._partial: Callable[[Any], None] = _ignore
        self._started = 0.0
        self._lay_out()
        self.cancel.clicked.connect(self.stop)
        self.runner.event.connect(self._on_event)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self.runner.current is not None

    def start(
        self,
        work: Callable[[ProgressCallback], Any],
        done: Callable[[Any], None],
        *,
        partial: Callable[[Any], None] = _ignore,
    ) -> None:
        """Run `work` in the background, unless a job runs already; `done` gets the result.

        `partial` gets first results, where `work` is a generator of some.
        """
        if self.busy:
            return
        self._done, self._partial = done, partial
        self._started = time.monotonic()
        self.runner.start(work)
        self._show_running(running=True)
        self.show_message("starting")

    def stop(self) -> None:
        """Stop the running job: the panel is free at once, the job ends with its step."""
        self.runner.stop()

    def seconds(self) -> float:
        """Since the last job was started."""
        return time.monotonic() - self._started

    def show_message(self, text: str, *, kind: str = "info") -> None:
        """Put one sentence on the message line; `kind` is info, warning or error."""
        color = message_color(kind)
        self.message.setStyleSheet(f"color: {color};" if color else "")
        self.message.setText(_SIGNS[kind] + text if text else "")

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.addWidget(self.bar, 1)
        line.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(line)
        column.addWidget(self.message)
        self._show_running(running=False)

    def _show_running(self, *, running: bool) -> None:
        self.bar.setRange(0, 0)
        for part in (self.bar, self.cancel):
            part.setVisible(running)
        self.changed.emit(running)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.bar.setRange(0, event.total if event.total > 1 else 0)
            self.bar.setValue(event.done)
            self.show_message(describe(event, self.seconds()))
        elif isinstance(event, Partial):
            self._partial(event.result)
        elif isinstance(event, Done):
            done = self._done
            self._end("")
            done(event.result)
        elif isinstance(event, Stopped):
            self._end(self.stopped_text)
        elif isinstance(event, Failed):
            logger.error("%s\n%s", event.message, event.details)
            self._end(event.message, kind="error")

    def _end(self, text: str, *, kind: str = "info") -> None:
        self._done = self._partial = _ignore  # they hold what the job worked on
        self.show_message(text, kind=kind)
        self._show_running(running=False)
