"""Numbers of a running server, per point, in Prometheus' format.

Whoever answers notes on the request's :class:`Observation` what it learns; the middleware counts it
once the answer's last byte is sent, so that a stream counts with its whole length.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.serving.plan import UNRELEASED, Served
from orchestrator.serving.router import Route

PREDICT: Final = "/v1/predict"
MODEL_ENDPOINTS: Final = (PREDICT, "/v1/completions", "/v1/chat/completions")
ENDPOINTS: Final = (*MODEL_ENDPOINTS, "/v1/questions")
_POINT: Final = ("release", "workload", "point")
_REQUEST: Final = ("endpoint", *_POINT)
_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


@dataclass
class Observation:
    """What is known of one request."""

    release: int = UNRELEASED
    workload: str = ""
    point: str = ""
    """Trial id; empty where the request was refused before one was chosen."""
    status: int = 500
    broke_off: bool = False
    """Whether a stream ended in an error, behind a status that said otherwise."""
    fell_back: bool = False
    """Whether a canary was asked first, in vain."""
    hung_up: bool = False
    """Whether the caller did not wait for the answer."""
    named: bool = False
    """Whether the request named its release."""
    tokens_in: float = 0
    tokens_kept: float = 0
    tokens_out: float = 0

    @property
    def failed(self) -> bool:
        """Whether there was no answer, or half of one."""
        return not self.hung_up and (self.status >= 500 or self.broke_off)

    def chose(self, route: Route) -> None:
        """Note who answers."""
        self.workload, self.point = route.workload.name, route.configuration.trial


_CURRENT: ContextVar[Observation | None] = ContextVar("observation", default=None)


def observation() -> Observation:
    """The current request's."""
    return _CURRENT.get() or Observation()


@contextmanager
def forgotten() -> Iterator[None]:
    """A block whose requests nobody counts."""
    token = _CURRENT.set(Observation())
    try:
        yield
    finally:
        _CURRENT.reset(token)


class Watcher(Protocol):
    """Who is told of every request once it is over."""

    def count(self, endpoint: str, seen: Observation, seconds: float) -> None:
        """Take note of one."""
        ...


class Numbers:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests.", _REQUEST)
        self._refused = self._counter(
            "refused",
            "Requests that got a 4xx; the point is empty where none was chosen.",
            (*_REQUEST, "status"),
        )
        self._errors = self._counter("errors", "5xx, and streams that broke off.", _REQUEST)
        self._in = self._counter(
            "tokens_in",
            "Tokens that came in; for /v1/predict, those kept over the measured share.",
            _POINT,
        )
        self._kept = self._counter("tokens_kept", "Of these, kept per layer on average.", _POINT)
        self._out = self._counter("tokens_out", "Tokens generated.", _POINT)
        self._seconds = Histogram(
            "paretoken_request_seconds",
            "From the request's first byte to the answer's last.",
            _REQUEST,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._fallbacks = self._counter(
            "fallbacks", "Requests that a canary did not answer, and another did.", ("endpoint",)
        )
        self._quality = self._gauge("expected_quality", _POINT)
        self._cost = self._gauge("expected_cost", (*_POINT, "metric"))
        self._share = self._gauge("share", ("release",), "Of the requests that name no release.")

    def page(self) -> Response:
        """What Prometheus reads."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def count(self, endpoint: str, seen: Observation, seconds: float) -> None:
        """Add one request."""
        point = (str(seen.release), seen.workload, seen.point)
        labels = (endpoint, *point)
        self._requests.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seconds)
        if 400 <= seen.status < 500:
            self._refused.labels(*labels, str(seen.status)).inc()
        if seen.failed:
            self._errors.labels(*labels).inc()
        if seen.fell_back:
            self._fallbacks.labels(endpoint).inc()
        if seen.point:
            self._in.labels(*point).inc(seen.tokens_in)
            self._kept.labels(*point).inc(seen.tokens_kept)
            self._out.labels(*point).inc(seen.tokens_out)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"paretoken_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, labels: tuple[str, ...], text: str = "Measured.") -> Gauge:
        return Gauge(f"paretoken_{name}", text, labels, registry=self._registry)

    def describe(self, shares: Sequence[tuple[Served, float]]) -> None:
        """Put the measured numbers beside, so that a dashboard needs no second source.

        ``shares`` are the loaded releases with what they get of the requests.
        """
        for gauge in (self._quality, self._cost, self._share):
            gauge.clear()
        for served, share in shares:
            self._share.labels(str(served.number)).set(share)
            self._describe(served)

    def _describe(self, served: Served) -> None:
        for workload in served.release.workloads:
            for configuration in workload.configurations:
                point = (str(served.number), workload.name, configuration.trial)
                self._quality.labels(*point).set(configuration.quality)
                for metric in workload.costs:
                    if (value := configuration.cost(metric)) is not None:
                        self._cost.labels(*point, metric).set(value)


class Observed:
    """Counts every request to :data:`ENDPOINTS`."""

    def __init__(self, app: ASGIApp, watchers: Sequence[Watcher]) -> None:
        self._app = app
        self._watchers = watchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it when it is over."""
        if scope["type"] != "http" or scope["path"] not in ENDPOINTS:
            await self._app(scope, receive, send)
            return
        with self._counted(scope["path"]) as seen:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.status = message["status"]
                await send(message)

            await self._app(scope, receive, watched)

    @contextmanager
    def _counted(self, endpoint: str) -> Iterator[Observation]:
        seen, started = Observation(), time.perf_counter()
        token = _CURRENT.set(seen)
        try:
            yield seen
        except asyncio.CancelledError:
            seen.hung_up = True
            raise
        finally:
            _CURRENT.reset(token)
            seconds = time.perf_counter() - started
            for watcher in self._watchers:
                watcher.count(endpoint, seen, seconds)
