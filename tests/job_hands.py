"""All that is heard of a job, for tests without a window."""

from __future__ import annotations

import time

from medseg_napari.jobs import Event, Job, is_last


def heard(job: Job) -> list[Event]:
    """All events of a job that is started now."""
    job.start()
    events: list[Event] = []
    while not (events and is_last(events[-1])):
        events += job.news()
        time.sleep(0.001)
    return events
