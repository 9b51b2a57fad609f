"""Whatever becomes of the work, it is told and nothing is raised."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from job_hands import heard
from medseg.errors import ReadError
from medseg_napari.jobs import Done, Failed, Job, Partial, Progress, Stopped, explain


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
    asked, begun, steps = threading.Event(), threading.Event(), []

    def work(progress):
        progress(0, 3, "a")
        begun.set()
        asked.wait()
        steps.append(1)
        progress(1, 3, "a")
        steps.append(2)

    before = set(threading.enumerate())
    job = Job(work)
    job.start()
    (thread,) = set(threading.enumerate()) - before
    begun.wait()
    job.cancel.set()
    asked.set()
    thread.join()
    assert job.news() == [Stopped()]
    assert steps == [1]


def test_a_stopped_job_is_over_at_once_and_its_late_result_is_thrown_away() -> None:
    gate, over = threading.Event(), threading.Event()
    job = Job(lambda _progress: (gate.wait(), over.set()))
    job.start()
    assert job.news() == []
    job.cancel.set()
    assert job.news() == [Stopped()]
    assert not over.is_set()
    gate.set()
    over.wait()
    assert job.news() == [Stopped()]


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


def test_the_program_waits_for_the_thread_of_a_job() -> None:
    gate, before = threading.Event(), set(threading.enumerate())
    Job(lambda _progress: gate.wait()).start()
    (thread,) = set(threading.enumerate()) - before
    assert not thread.daemon, "a thread that is cut off inside of torch aborts the process"
    gate.set()
    thread.join()


def test_what_a_job_worked_on_is_let_go_of() -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    assert heard(Job(lambda _progress, held=big: id(held)))[-1] == Done(id(big))
    del big
    gc.collect()
    assert gone() is None
