from __future__ import annotations

import io

import pytest
from rich.console import Console

from dashboards.progress import LogView, Progress, State, drawn, duration, progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def test_speed_and_eta_count_only_what_was_measured_now() -> None:
    state = State(total=100, reused=40, done=20, running=2, seconds=10.0)
    assert state.per_second == 2.0
    assert state.eta == 20.0
    assert "60/100 trials · 2 running · 40 reused · 0 failed" in state.sentence
    assert "2.00 per second · ETA 20 s" in state.sentence


def test_without_a_result_there_is_no_eta() -> None:
    state = State(total=10, reused=4, seconds=3.0)
    assert state.eta is None
    assert "ETA" not in state.sentence


def test_a_log_gets_a_line_every_few_seconds_and_the_last_state() -> None:
    clock, log = Clock(), console(terminal=False)
    with Progress(4, LogView(log, clock, interval=5.0), clock) as shown:
        shown.update(running=2)
        for done in (1, 2, 3, 4):
            clock.now += 2.0
            shown.update(done=done)
            shown.best("digits", f"tome at {done}")
    lines = written(log).splitlines()
    assert [line.split(" trials")[0] for line in lines[:-1]] == ["0/4", "3/4", "4/4"]
    assert lines[-2].endswith(" · 8 s")
    assert lines[-1] == "best of digits: tome at 4"
    assert "\x1b" not in written(log)


def test_values_that_are_not_given_stay() -> None:
    clock = Clock()
    with Progress(9, LogView(console(terminal=False), clock), clock) as shown:
        shown.update(done=3, running=2, reused=1)
        shown.update(failed=1, note="stopping")
        shown.update(running=0)
        state = shown.state
    assert (state.done, state.running, state.reused, state.failed) == (3, 0, 1, 1)
    assert state.sentence.endswith("stopping")


def test_a_terminal_gets_a_live_display_with_the_best_points() -> None:
    terminal = console(terminal=True)
    with progress(10, terminal) as shown:
        shown.update(done=5, running=2)
        shown.best("digits", "tome 0.25, quality 0.95")
    assert "5/10 trials" in written(terminal)
    assert "best of digits: tome 0.25, quality 0.95" in written(terminal)
    assert "\x1b[?25h" in written(terminal), "the cursor must come back"


def test_an_interrupt_leaves_the_terminal_as_it_was() -> None:
    terminal = console(terminal=True)
    with pytest.raises(KeyboardInterrupt), progress(10, terminal):
        raise KeyboardInterrupt
    assert written(terminal).rstrip().endswith("\x1b[?25h")


def test_a_stream_that_is_no_terminal_gets_plain_lines() -> None:
    log = console(terminal=False)
    with progress(2, log) as shown:
        shown.update(done=2)
    assert "2/2 trials" in written(log)
    assert "\x1b" not in written(log)


def test_a_narrow_terminal_still_shows_every_count() -> None:
    narrow = Console(file=io.StringIO(), width=50, color_system=None)
    narrow.print(drawn(State(total=200, done=100, running=2, failed=3, seconds=50.0)))
    shown = " ".join(written(narrow).split())
    assert "100/200 trials · 2 running · 0 reused · 3 failed" in shown


def test_an_empty_plan_is_shown_too() -> None:
    with progress(0, console(terminal=True)) as shown:
        assert shown.state.eta is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (187, "3:07"), (7500, "2:05:00")]
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words
