"""When something is tried again: waits that double, with chance in them, up to a number."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.settings import Retry

Answer = TypeVar("Answer")
_chance = random.SystemRandom()


def wait_s(retry: Retry, failures: int) -> float:
    """Seconds before the next attempt.

    Parameters
    ----------
    retry : Retry
        Its first and longest wait.
    failures : int
        How many attempts failed, from 1.

    Returns
    -------
    float
        Between a half of the doubled wait and all of it, so that many do not come back at once.
    """
    whole = min(retry.most_s, retry.first_s * 2.0 ** min(failures - 1, 60))
    return whole * _chance.uniform(0.5, 1.0)


def call(action: Callable[[], Answer], retry: Retry, *, pause: Callable[[float], None]) -> Answer:
    """Do something until it works, or `retry.attempts` are used up.

    Parameters
    ----------
    action : callable
        Raises `PeerError` when it did not work; one that does not pass ends it at once.
    retry : Retry
        How often, and how long between.
    pause : callable
        Waits for that many seconds; may raise `medseg.errors.Cancelled`.

    Returns
    -------
    object
        What the action gave.

    Raises
    ------
    PeerError
        That of the last attempt.
    """
    failures = 0
    while True:
        try:
            return action()
        except PeerError as error:
            failures += 1
            if not error.passing or failures >= retry.attempts:
                raise
        pause(wait_s(retry, failures))
