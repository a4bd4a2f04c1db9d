"""How a sweep is going: a live display on a terminal, a line now and then in a log.

``with progress(total) as shown:`` chooses between the two by looking at the stream; both are told
the same things and write to standard error, so standard output stays free for results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Clock = Callable[[], float]
"""Seconds that only grow."""
_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands; counts are trials."""

    total: int
    """All trials of the plan, the reused ones included."""
    reused: int = 0
    done: int = 0
    """Measured now, whether they finished or failed."""
    running: int = 0
    failed: int = 0
    """Those of ``done`` that failed."""
    timings: int = 0
    """Timings to take once all trials have ended; 0 before."""
    timed: int = 0
    timing_since: float = 0.0
    """When the first of them was to begin, counted as ``seconds``."""
    seconds: float = 0.0
    note: str = ""
    best: Mapping[str, str] = field(default_factory=dict)

    @property
    def per_second(self) -> float | None:
        """Trials measured per second; None before the first."""
        return self.done / self.seconds if self.done and self.seconds > 0 else None

    @property
    def eta(self) -> float | None:
        """Seconds until the last trial at this speed; None before the first."""
        if self.timings:
            return self._eta_of_timings
        left = self.total - self.reused - self.done
        return left / self.per_second if self.per_second else None

    @property
    def _eta_of_timings(self) -> float | None:
        passed = self.seconds - self.timing_since
        return (self.timings - self.timed) * passed / self.timed if self.timed else None

    @property
    def sentence(self) -> str:
        """Everything but the best points, on one line."""
        settled = self.reused + self.done
        parts = [
            f"{settled}/{self.total} trials",
            f"{self.running} running",
            f"{self.reused} reused",
            f"{self.failed} failed",
        ]
        if self.timings:
            parts = [parts[0], f"measurement lane: {self.timed}/{self.timings} timed", *parts[2:]]
        elif self.per_second is not None:
            parts.append(f"{self.per_second:.2f} per second")
        if self.eta is not None:
            parts.append(f"ETA {duration(self.eta)}")
        return " · ".join(part for part in (*parts, self.note) if part)


class View(Protocol):
    """Something that shows a state."""

    def show(self, state: State) -> None:
        """Called at every change."""
        ...

    def say(self, line: str) -> None:
        """Something to be read once; it stays."""
        ...

    def close(self, state: State) -> None:
        """Called once, with the last state."""
        ...


class Progress:
    """What the run tells; how it looks is the view's affair."""

    def __init__(self, total: int, view: View, clock: Clock = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self._began = clock()
        self._state = State(total)

    @property
    def state(self) -> State:
        """What is known now."""
        return replace(self._state, seconds=self._clock() - self._began)

    def update(
        self,
        *,
        done: int | None = None,
        running: int | None = None,
        reused: int | None = None,
        failed: int | None = None,
        timings: int | None = None,
        timed: int | None = None,
        note: str | None = None,
        total: int | None = None,
    ) -> None:
        """New totals of what is given; the rest stays. ``note`` is a word on what is happening."""
        given = {"done": done, "running": running, "reused": reused, "failed": failed}
        given |= {"timings": timings, "timed": timed, "total": total}
        changed = {name: value for name, value in given.items() if value is not None}
        if timings and not self._state.timings:
            self._state = replace(self._state, timing_since=self.state.seconds)
        self._state = replace(self._state, **changed)  # type: ignore[arg-type]
        if note is not None:
            self._state = replace(self._state, note=note)
        self._view.show(self.state)

    def best(self, workload: str, description: str) -> None:
        """The best point of a workload so far, in a few words."""
        self._state = replace(self._state, best={**self._state.best, workload: description})
        self._view.show(self.state)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._view.say(line)

    def __enter__(self) -> Self:
        """Start to show, and to count the time."""
        self._began = self._clock()
        self._view.show(self.state)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the last state and leave the terminal as it was."""
        self._view.close(self.state)


def progress(total: int, console: Console | None = None) -> Progress:
    """A progress display for ``total`` trials, live where standard error is a terminal."""
    chosen = console or Console(stderr=True)
    return Progress(total, LiveView(chosen) if chosen.is_terminal else LogView(chosen))


class LiveView:
    """A bar, counts and the best points, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def show(self, state: State) -> None:
        """Draw with the next refresh."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(drawn(state))

    def say(self, line: str) -> None:
        """Print above the bar."""
        self._live.console.print(Text(line), soft_wrap=True)

    def close(self, state: State) -> None:
        """Draw once more and give the terminal back."""
        self._live.update(drawn(state))
        self._live.stop()


class LogView:
    """A line every few seconds, and one at the end."""

    def __init__(
        self,
        console: Console,
        clock: Clock = time.monotonic,
        interval: float = _SECONDS_BETWEEN_LINES,
    ) -> None:
        self._console = console
        self._clock = clock
        self._interval = interval
        self._next = -float("inf")

    def show(self, state: State) -> None:
        """Print a line if the last one is old enough."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval
            self._line(state.sentence)

    def say(self, line: str) -> None:
        """Print it at once."""
        self._line(line)

    def close(self, state: State) -> None:
        """Print the last state and the best points."""
        self._line(f"{state.sentence} · {duration(state.seconds)}")
        for workload, description in state.best.items():
            self._line(f"best of {workload}: {description}")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def drawn(state: State) -> RenderableType:
    """The live display of one state."""
    total, completed = state.total, state.reused + state.done
    if state.timings:
        total, completed = state.timings, state.timed
    bar = ProgressBar(total=max(total, 1), completed=completed, width=40)
    header = Table.grid(padding=(0, 1))
    header.add_row(bar, Text(duration(state.seconds)))
    lines = [Text(f"best of {name}: {words}") for name, words in state.best.items()]
    return Group(header, Text(state.sentence), *lines)


def duration(seconds: float) -> str:
    """``42 s``, ``3:07`` or ``2:05:00``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
