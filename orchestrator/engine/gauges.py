"""Numbers of a running sweep, beside Ray's own, for Prometheus and whoever watches it.

Ray's metrics agent exports them on every node's metrics port, each name with ``ray_`` before it.
They are the driver's: a sweep has them while its pool runs.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from orchestrator.engine.events import PoolEvent

_TAGS: Final = ("sweep",)
_LEVELS: Final = {
    "workers": "Workers alive.",
    "queued": "Trials that no worker has been given.",
    "unrecorded": "Results on their way to the database: the writer's lag.",
    "mirrored": "Trials and timings that MLflow was told of in this run.",
}
"""Fields of an event, each a gauge."""


class Gauges:
    """One sweep's; they come into being with the first event, when Ray is connected."""

    def __init__(self, sweep: str) -> None:
        self._tags = {"sweep": sweep}

    def update(self, event: PoolEvent) -> None:
        """Show the state that an event tells, and count what it ended."""
        for name, gauge in self._levels.items():
            gauge.set(getattr(event, name), self._tags)
        if event.result is not None:
            tags = {**self._tags, "state": event.result.state.value}
            self._trials.inc(1, tags)
            if event.result.seconds > 0:
                self._busy.inc(event.result.seconds, self._tags)
        if event.timing is not None:
            self.count_timing()

    def count_timing(self) -> None:
        """Count a timing that ended."""
        self._timed.inc(1, self._tags)

    @cached_property
    def _levels(self) -> dict[str, Any]:
        from ray.util.metrics import Gauge

        return {
            name: Gauge(f"paretoken_{name}", text, tag_keys=_TAGS) for name, text in _LEVELS.items()
        }

    @cached_property
    def _trials(self) -> Any:
        return _counter("trials", "Trials that ended.", (*_TAGS, "state"))

    @cached_property
    def _busy(self) -> Any:
        return _counter("busy_seconds", "Seconds inside trials, over all workers.", _TAGS)

    @cached_property
    def _timed(self) -> Any:
        return _counter("timings", "Timings in the measurement lane that ended.", _TAGS)


def _counter(name: str, text: str, tags: tuple[str, ...]) -> Any:
    from ray.util.metrics import Counter

    return Counter(f"paretoken_{name}", text, tag_keys=tags)
