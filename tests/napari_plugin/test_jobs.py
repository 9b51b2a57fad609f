"""Whatever becomes of the work, the worker hears it and nothing is raised."""

from __future__ import annotations

import threading

import pytest

from medseg.errors import ReadError
from medseg_napari.jobs import Alive, Done, Failed, Job, Partial, Progress, Stopped, explain


def heard(job: Job) -> list:
    return [event for event in job.events() if not isinstance(event, Alive)]


def test_progress_then_done() -> None:
    def work(progress):
        progress(0, 2, "a")
        progress(1, 2, "b")
        return 42

    assert heard(Job(work)) == [Progress(0, 2, "a"), Progress(1, 2, "b"), Done(42)]


@pytest.mark.parametrize("error", [RuntimeError("boom"), ValueError("boom"), SystemExit(1)])
def test_an_error_is_the_last_event(error: BaseException) -> None:
    def work(progress):
        progress(0, 2, "a")
        raise error

    *_, last = heard(Job(work))
    assert isinstance(last, Failed)
    assert type(error).__name__ in last.message
    assert "Traceback" in last.details


def test_errors_of_medseg_are_told_as_they_are() -> None:
    assert explain(ReadError("scan.nii is damaged; copy it again")).startswith("scan.nii")


def test_out_of_memory_says_what_to_try() -> None:
    assert "choose the CPU" in explain(RuntimeError("CUDA out of memory. Tried to allocate"))


def test_cancel_stops_at_the_next_step() -> None:
    asked, steps = threading.Event(), []

    def work(progress):
        progress(0, 3, "a")
        asked.wait(5)
        steps.append(1)
        progress(1, 3, "a")
        steps.append(2)

    job = Job(work)
    events = job.events()
    next(events)
    job.cancel.set()
    asked.set()
    assert isinstance(list(events)[-1], Stopped)
    assert steps == [1]


def test_a_stopped_job_is_over_at_once_and_its_late_result_is_thrown_away() -> None:
    gate, over = threading.Event(), threading.Event()
    job = Job(lambda _progress: (gate.wait(300), over.set()))
    events = job.events()
    assert next(events) == Alive()
    job.cancel.set()
    assert next(events) == Stopped()
    assert not over.is_set()
    gate.set()
    assert list(events) == []


def test_a_generator_gives_first_results_and_a_last_one() -> None:
    def work(progress):
        progress(0, 2, "a")
        yield "coarse"
        progress(1, 2, "a")
        return "fine"

    assert heard(Job(work)) == [
        Progress(0, 2, "a"),
        Partial("coarse"),
        Progress(1, 2, "a"),
        Done("fine"),
    ]


def test_an_abandoned_job_ends_its_thread() -> None:
    before = threading.active_count()
    gate = threading.Event()

    def work(progress):
        while True:
            progress(0, 2, "a")
            gate.wait(0.01)

    events = Job(work).events()
    next(events)
    events.close()
    assert threading.active_count() == before


def test_waiting_yields_a_heartbeat() -> None:
    gate = threading.Event()
    events = Job(lambda _progress: gate.wait(5)).events()
    assert next(events) == Alive()
    gate.set()
    assert isinstance(list(events)[-1], Done)
