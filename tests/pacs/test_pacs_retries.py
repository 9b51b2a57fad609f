"""Waits double, with chance in them, and end; what does not pass is not waited for."""

from __future__ import annotations

import pytest

from medseg.errors import Cancelled
from medseg_pipelines.pacs.client import call
from medseg_pipelines.pacs.errors import PeerError
from medseg_pipelines.pacs.settings import Retry

RETRY = Retry(attempts=4, first_s=2.0, most_s=10.0)


@pytest.mark.parametrize(("failures", "whole"), [(1, 2), (2, 4), (3, 8), (4, 10), (5000, 10)])
def test_waits_double_up_to_a_limit(failures, whole):
    waits = [RETRY.wait_s(failures) for _ in range(200)]
    assert min(waits) >= whole / 2
    assert max(waits) <= whole
    assert max(waits) - min(waits) > whole / 8  # many do not come back at once


def failing(times, code="BUSY"):
    left = [PeerError("no", code=code)] * times

    def action():
        if left:
            raise left.pop()
        return "done"

    return action


def test_it_is_tried_until_it_works():
    waits = []
    assert call(failing(3), RETRY, pause=waits.append) == "done"
    assert len(waits) == 3
    assert waits[0] < waits[2]


@pytest.mark.parametrize(("code", "tries"), [("BUSY", 4), ("TIMEOUT", 4), ("FORBIDDEN", 1)])
def test_it_ends(code, tries):
    waits = []
    with pytest.raises(PeerError):
        call(failing(99, code), RETRY, pause=waits.append)
    assert len(waits) == tries - 1


def test_a_person_ends_the_waiting():
    def stop(_):
        raise Cancelled("as asked")

    with pytest.raises(Cancelled):
        call(failing(1), RETRY, pause=stop)
