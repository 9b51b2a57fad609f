"""The last lines of medseg's log, kept for a bug report."""

from __future__ import annotations

import logging
from collections import deque

_LINES = 40
_LOGGERS = ("medseg", "medseg_napari")


class LogMemory(logging.Handler):
    """Keeps the last `lines` that medseg and its plugin log, the oldest first."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=_LINES)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.extend(self.format(record).splitlines())

    def install(self) -> None:
        """Listen from now on, once; what the console shows stays as it was."""
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            if not logger.handlers and logging.lastResort is not None:
                logger.addHandler(logging.lastResort)
            if self not in logger.handlers:
                logger.addHandler(self)


log_memory = LogMemory()
"""The one of this process."""
