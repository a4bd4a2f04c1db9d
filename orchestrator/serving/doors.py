"""Who may come in, and how often: API keys and limits per tenant, before anything is read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.keys import UNPROMISED, Key, Keyring, ServiceLevel
from orchestrator.serving.refusals import problem

OPEN_PATHS: Final = ("/healthz",)
"""Whoever watches over processes has no key."""


@dataclass(frozen=True)
class Caller:
    """Who asks, and what they were promised."""

    tenant: str = ""
    level: ServiceLevel = UNPROMISED


CALLER: Final[ContextVar[Caller]] = ContextVar("caller", default=Caller())  # noqa: B039 - frozen
"""Of the current request, where keys are asked for."""


class Doors:
    """Lets in who has a key in ``Authorization: Bearer ...`` and keeps to its tenant's limit."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring
        self._limits = Limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        key = self._keyring.key_of(_bearer(connection))
        if key is None:
            refusal = problem(connection, 401, "send an API key: Authorization: Bearer KEY")
            refusal.headers["www-authenticate"] = "Bearer"
            await refusal(scope, receive, send)
        elif (seconds := self._limits.wait(key)) > 0:
            refusal = problem(
                connection,
                429,
                f"tenant {key.tenant!r} may send {key.per_minute} requests a minute",
            )
            refusal.headers["retry-after"] = str(math.ceil(seconds))
            await refusal(scope, receive, send)
        else:
            CALLER.set(Caller(key.tenant, key.level))  # for this request's task alone
            await self._app(scope, receive, send)


def _bearer(connection: HTTPConnection) -> str:
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


@dataclass
class _Bucket:
    """What a tenant has left."""

    left: float
    at: float


class Limits:
    """A bucket for each tenant that fills up within a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def wait(self, key: Key) -> float:
        """Seconds until the tenant may send again; 0, and one request less, if it may now."""
        now, rate = self._clock(), key.per_minute / 60
        bucket = self._buckets.setdefault(key.tenant, _Bucket(key.per_minute, now))
        bucket.left = min(key.per_minute, bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / rate
        bucket.left -= 1
        return 0.0
