"""Sends each request to one of the releases that are loaded.

To the active one; a share of them to the canary, evenly spread. A canary's failure is nobody's
loss: what it does not answer in time, or with 5xx, the active release answers. And while there is
a canary, the active release answers its requests as well, unseen, so that the two can be compared.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.serving.agreement import decision
from orchestrator.serving.observed import (
    MODEL_ENDPOINTS,
    PREDICT,
    Observation,
    forgotten,
    observation,
)
from orchestrator.serving.plan import Plan, Served
from orchestrator.serving.points import POINT_HEADER, QUALITY_HEADER, RELEASE_HEADER
from orchestrator.serving.refusals import MAX_BODY_BYTES, problem
from orchestrator.serving.tally import Tally

PATIENCE_SECONDS: Final = 10.0
"""So long a canary may take until it begins to answer."""
MOST_BYTES: Final = 2**20
"""Of an answer that is compared."""
MOST_SHADOWS: Final = 4
"""Comparisons under way; more would take the models' time from those who wait for answers."""

Build = Callable[[Served], ASGIApp]


@dataclass
class Heard:
    """What an application sent as its answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    async def listen(self, message: Message) -> None:
        """Note a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in message["headers"]}
        elif len(self.body) < MOST_BYTES:
            self.body += message.get("body", b"")

    @property
    def failed(self) -> bool:
        """Whether there is no answer, or one that says that there is none."""
        return self.status == 0 or self.status >= 500

    def content(self) -> Any:
        """The answer as JSON; None where it is something else, or too long."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class _Current:
    """A plan with what answers for its releases; replaced as a whole."""

    plan: Plan
    apps: dict[int, ASGIApp]


class Switch:
    """An ASGI application made of one for each loaded release."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._current: _Current | None = None
        self._owed = 0.0
        self._shadows: set[asyncio.Task[None]] = set()
        self._tallies: dict[int, Tally] = {}

    @property
    def plan(self) -> Plan | None:
        """What is followed."""
        return None if self._current is None else self._current.plan

    def follow(self, plan: Plan) -> None:
        """Serve by this plan from now on; requests under way end where they are."""
        built = {} if self._current is None else self._current.apps
        apps = {each.number: built.get(each.number) or self._build(each) for each in plan.loaded}
        self._current = _Current(plan, apps)

    def taken(self) -> dict[int, Tally]:
        """What was seen since the last call."""
        tallies, self._tallies = self._tallies, {}
        return tallies

    def count(self, _endpoint: str, seen: Observation, seconds: float) -> None:
        """Note a request that is over, if it says something about the release that answered."""
        if seen.named or seen.hung_up or 400 <= seen.status < 500:
            return
        tally = self._tally(seen.release)
        tally.requests += 1
        tally.errors += seen.failed
        if not seen.fell_back:
            tally.seconds.append(seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        current = self._current
        assert current is not None, "requests come once there is a plan"
        wanted = HTTPConnection(scope).headers.get(RELEASE_HEADER)
        if wanted is not None:
            await self._named(wanted, current, scope, receive, send)
        elif scope["path"] in MODEL_ENDPOINTS and self._is_canarys(current.plan):
            await self._tried(current, scope, receive, send)
        else:
            await _given(current, current.plan.active, scope, receive, send)

    def _is_canarys(self, plan: Plan) -> bool:
        """Every n-th request, not a random one: shares are kept exactly."""
        self._owed += 0.0 if plan.canary is None else plan.canary.terms.share
        if plan.canary is None or self._owed < 1:
            return False
        self._owed -= 1
        return True

    async def _named(
        self, wanted: str, current: _Current, scope: Scope, receive: Receive, send: Send
    ) -> None:
        loaded = current.plan.loaded
        served = next((s for s in loaded if wanted in (str(s.number), s.name)), None)
        if served is not None:
            observation().named = True
            await _given(current, served, scope, receive, send)
            return
        names = ", ".join(each.name for each in loaded)
        refusal = problem(
            HTTPConnection(scope), 404, f"release {wanted[:50]!r} is not loaded; these are: {names}"
        )
        await refusal(scope, receive, send)

    async def _tried(self, current: _Current, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the canary answer, and the active release where it does not."""
        assert current.plan.canary is not None
        canary, heard = current.plan.canary.served, Heard()
        messages = await _read(receive)
        try:
            await _guarded(current, canary, heard, scope, _replayed(messages, receive), send)
        except Exception:
            if not heard.failed:
                raise  # a stream that broke off after its beginning
        if heard.failed:
            again = _replayed(messages, receive)
            await self._answered_instead(current, canary, scope, again, send)
        elif scope["path"] == PREDICT and heard.status == 200 and len(self._shadows) < MOST_SHADOWS:
            task = asyncio.create_task(self._compared(current, canary, heard, scope, messages))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _answered_instead(
        self, current: _Current, canary: Served, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """By the active release; an error of the canary's, unless that takes as long or fails."""
        seen, began = observation(), time.monotonic()
        seen.fell_back = True
        await _given(current, current.plan.active, scope, receive, send)
        if seen.status < 500 and time.monotonic() - began < PATIENCE_SECONDS:
            self._tally(canary.number).requests += 1
            self._tally(canary.number).errors += 1

    async def _compared(
        self,
        current: _Current,
        canary: Served,
        heard: Heard,
        scope: Scope,
        messages: list[Message],
    ) -> None:
        """Ask the active release the same, and count whether it says the same."""
        workload = unquote(heard.headers.get(POINT_HEADER, "")).rpartition("/")[0]
        if workload not in canary.exact:
            return
        other = Heard()
        with forgotten():
            app = current.apps[current.plan.active.number]
            await app(scope, _replayed(messages, _never), other.listen)
        one, two = _said(heard.content()), _said(other.content())
        if other.status == 200 and one is not None and two is not None:
            tally = self._tally(canary.number)
            tally.compared += 1
            tally.disagreements += one != two
            tally.tolerated += sum(1 - float(h.headers[QUALITY_HEADER]) for h in (heard, other))

    def _tally(self, number: int) -> Tally:
        return self._tallies.setdefault(number, Tally())


async def _given(
    current: _Current, served: Served, scope: Scope, receive: Receive, send: Send
) -> None:
    observation().release = served.number
    await current.apps[served.number](scope, receive, _signed(served, send))


async def _guarded(
    current: _Current, canary: Served, heard: Heard, scope: Scope, receive: Receive, send: Send
) -> None:
    """Pass an answer on from its beginning, unless that says that there is none."""

    async def listening(message: Message) -> None:
        await heard.listen(message)
        if not heard.failed:
            patience.reschedule(None)
            await send(message)

    async with asyncio.timeout(PATIENCE_SECONDS) as patience:
        await _given(current, canary, scope, receive, listening)


def _said(content: Any) -> Any:
    """What an answer decides; None for what cannot be compared."""
    return decision(content["output"]) if isinstance(content, dict) else None


def _signed(served: Served, send: Send) -> Send:
    """Says in the answer's headers whose it is."""
    header = (RELEASE_HEADER.encode(), served.name.encode("latin-1", "replace"))

    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return signed


async def _read(receive: Receive) -> list[Message]:
    """A request's body up to :data:`MAX_BODY_BYTES`; what is left is still to be received.

    More need not be kept to be asked again: it is refused anyway.
    """
    messages = [await receive()]
    size = len(messages[0].get("body", b""))
    while messages[-1].get("more_body") and size <= MAX_BODY_BYTES:
        messages.append(await receive())
        size += len(messages[-1].get("body", b""))
    return messages


def _replayed(messages: list[Message], rest: Receive) -> Receive:
    """The messages once more, and then what comes after them."""
    left = iter(messages)

    async def receive() -> Message:
        message = next(left, None)
        return await rest() if message is None else message

    return receive


async def _never() -> Message:
    """Where nobody waits for the answer, nobody hangs up either."""
    await asyncio.Event().wait()
    raise AssertionError
