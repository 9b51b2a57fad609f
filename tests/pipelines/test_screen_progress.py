import io
import os
import signal

import pytest
from rich.console import Console as RichConsole

from medseg.errors import Cancelled
from medseg_pipelines import console as console_module
from medseg_pipelines.console import Console, duration


def plain():
    text = io.StringIO()
    return Console(RichConsole(file=text, highlight=False)), text


def test_a_log_gets_a_line_now_and_then_with_the_time_left(monkeypatch):
    console, text = plain()
    now = [0.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    with console.progress("training") as progress:
        for step in range(41):
            now[0] = step * 1.0
            progress(step, 100, f"training, loss {step}")
    lines = text.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "  training, loss 10: 10/100, about 1 min 30 s left"


def test_new_work_starts_a_new_estimate(monkeypatch):
    console, text = plain()
    now = [0.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    with console.progress("work") as progress:
        progress(0, 4, "preparing")
        now[0] = 100.0
        progress(0, 10, "training, loss 2")
        now[0] = 120.0
        progress(5, 10, "training, loss 1")
    assert text.getvalue().splitlines()[-1].endswith("about 20 s left")


def test_a_terminal_gets_a_bar():
    text = io.StringIO()
    console = Console(RichConsole(file=text, force_terminal=True, width=100))
    with console.progress("segmenting") as progress:
        progress(1, 4, "")
        progress(4, 4, "")
    assert "segmenting" in text.getvalue()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_at_the_next_step_and_the_second_at_once(kind, capfd):
    console, _ = plain()
    before = signal.getsignal(kind)
    with console.listening(), console.progress("work") as progress:
        progress(0, 2, "")
        os.kill(os.getpid(), kind)
        with pytest.raises(Cancelled):
            progress(1, 2, "")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), kind)
    assert signal.getsignal(kind) is before
    assert "once more" in capfd.readouterr().err


def test_text_with_brackets_is_printed_as_it_is():
    console, text = plain()
    console.print("file [bold]x[/bold].nii " + "y" * 300)
    assert text.getvalue() == "file [bold]x[/bold].nii " + "y" * 300 + "\n"


@pytest.mark.parametrize(("seconds", "words"), [(3.4, "3 s"), (59.6, "60 s"), (125, "2 min 05 s")])
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_progress_in_a_log_leaves_standard_output_to_results(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    console = Console()
    with console.progress("reading headers") as progress:
        now[0] = 11.0
        progress(1, 3, "reading headers")
        progress.tell("2 other file(s) hold no scan")
    console.print("{}")
    out, err = capsys.readouterr()
    assert out == "{}\n"
    assert "reading headers: 1/3" in err
    assert "2 other file(s)" in err
