"""What a service says while it runs: one line for each event, without patient text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime


class Log:
    """Lines with their time."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def say(self, text: str) -> None:
        """Print a line."""
        self._say(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z  {text}")
