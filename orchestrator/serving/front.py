"""What stands in front of the releases: doors, numbers, and the switch between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from orchestrator.keys import Keyring
from orchestrator.serving.doors import Doors
from orchestrator.serving.observed import Numbers, Observed
from orchestrator.serving.plan import Plan
from orchestrator.serving.switch import Build, Switch
from orchestrator.serving.tally import Tally

BEAT_SECONDS: Final = 0.25
"""How often an ingress asks for the plan, and tells what it saw."""

Beat = Callable[[int | None, Mapping[int, Tally]], Awaitable[Plan | None]]
"""Of a conductor, wherever it runs. May raise UnavailableError."""

_LOG = logging.getLogger("paretoken.serving")


def build_front(build: Build, beat: Beat, keys: Path | None = None) -> Starlette:
    """The application that answers by the plan of ``beat`` with what ``build`` makes of releases.

    With ``keys``, a file of API keys, nobody else is let in.
    """
    numbers, switch = Numbers(), Switch(build)

    def metrics(_: Request) -> Response:
        return numbers.page()

    @asynccontextmanager
    async def following(_: Starlette) -> AsyncIterator[None]:
        follower = _Follower(switch, numbers, beat)
        await follower.begin()
        task = asyncio.create_task(follower.run())
        yield
        task.cancel()

    doors = [] if keys is None else [Middleware(Doors, keyring=Keyring(keys))]
    return Starlette(
        routes=[Route("/metrics", metrics), Mount("", switch)],
        middleware=[Middleware(Observed, watchers=(numbers, switch)), *doors],
        lifespan=following,
    )


class _Follower:
    """Keeps a switch to the plan."""

    def __init__(self, switch: Switch, numbers: Numbers, beat: Beat) -> None:
        self._switch = switch
        self._numbers = numbers
        self._beat = beat

    async def begin(self) -> None:
        """Wait for the first plan."""
        while self._switch.plan is None:
            await self.step()

    async def run(self) -> None:
        """For as long as the server lives."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.step()
            except Exception:  # whatever it is, the next beat comes
                _LOG.exception("what is served stays")

    async def step(self) -> None:
        """Tell what was seen, and take over a new plan."""
        known = None if self._switch.plan is None else self._switch.plan.sequence
        plan = await self._beat(known, self._switch.taken())
        if plan is not None:
            await asyncio.to_thread(self._switch.follow, plan)
            self._numbers.describe(plan.shares)
