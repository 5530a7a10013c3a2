"""The progress line: silent for quick things, a bar where it can be redrawn, whole lines elsewhere, never red in a notebook."""

import io
import sys
import threading

import pytest

from faceswap_lab import progress
from faceswap_lab.progress import Progress


class Clock:
    """Seconds that pass only when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "perf_counter", clock)
    return clock


def drawn(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> tuple[Progress, Terminal]:
    """A progress bar on a terminal whose clock is ours."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "120")
    line = Progress("swap", 10, unit="frames")
    assert line._bar is not None
    line._bar._time = clock
    line._bar.start_t = line._bar.last_print_t = clock.now
    return line, stream


def test_in_a_pipe_quick_things_are_silent_and_long_ones_are_whole_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    line = Progress("swap", 10, unit="frames")
    clock.now += 1.9
    line.update(10)
    assert line.close() == pytest.approx(1.9)
    assert capsys.readouterr() == ("", "")
    line = Progress("swap", 100, unit="frames")
    for number in range(1, 101):
        clock.now += 0.5
        line.update(number, "find 30 %")
    line.close()
    out, err = capsys.readouterr()
    assert not out
    assert "\r" not in err
    assert err.splitlines()[-1] == "swap: 100/100 frames, 2.0/s, 0 s left; find 30 %"
    assert len(err.splitlines()) == 5, "one in ten seconds of fifty"


def test_on_a_terminal_quick_things_are_silent(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    line, stream = drawn(monkeypatch, clock)
    clock.now += 1.0
    line.update(10)
    line.close()
    assert stream.getvalue() == ""


def test_on_a_terminal_a_bar_is_redrawn_in_one_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    line, stream = drawn(monkeypatch, clock)
    for number in range(1, 11):
        clock.now += 1.0
        line.update(number, "find 30 %")
    assert line.close() == pytest.approx(10)
    shown = stream.getvalue()
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    assert shown.count("\r") > 3
    assert "10/10 frames" in shown
    assert "find 30 %" in shown


def test_in_a_notebook_it_goes_to_standard_output(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    out, err = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    line = Progress("train", 4, unit="steps")
    assert line._bar is not None
    line._bar._time = clock
    line._bar.start_t = line._bar.last_print_t = clock.now
    clock.now += 3
    line.update(4)
    line.close()
    assert "4/4 steps" in out.getvalue()
    assert err.getvalue() == ""


def test_who_listens_hears_each_step_and_only_in_the_block_and_its_thread() -> None:
    heard: list[tuple[str, int, int]] = []
    line = Progress("swap", 3, unit="frames")
    line.update(1)
    with progress.heard_by(lambda *step: heard.append(step)):
        line.update(2)
        other = threading.Thread(target=line.update, args=(7,))
        other.start()
        other.join()
        Progress("faces", 9, unit="files").update(9)
    line.update(3)
    assert heard == [("swap", 2, 3), ("faces", 9, 9)]
