"""Requests find their release; a canary's failure is nobody's loss; what it says is compared."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from orchestrator.serving import switch as switching
from orchestrator.serving.front import build_front
from orchestrator.serving.plan import Canary, Plan, Served
from orchestrator.serving.points import POINT_HEADER, QUALITY_HEADER, RELEASE_HEADER
from orchestrator.serving.tally import Tally
from store.releases.line import Terms
from store.releases.release import Release

HEADERS = {POINT_HEADER: "digits/abc", QUALITY_HEADER: "0.9"}


class Releases:
    """Applications that answer with their number; what each does beside that can be set."""

    def __init__(self, release: Release) -> None:
        self.active = Served(1, release, ("digits",))
        self.canary = Served(2, release, ("digits",))
        self.behaviour: dict[int, Any] = {}
        self.asked: Counter[int] = Counter()
        self.plan = Plan(7, self.active, Canary(self.canary, Terms(share=0.25)))
        self.tallies: dict[int, Tally] = {}

    def build(self, served: Served) -> ASGIApp:
        async def predict(request: Request) -> Any:
            body = await request.body()
            self.asked[served.number] += 1
            if (behaviour := self.behaviour.get(served.number)) is not None:
                return await behaviour(json.loads(body))
            return JSONResponse({"output": {"label": 3, "sure": 0.1 * served.number}}, 200, HEADERS)

        return Starlette(routes=[Route("/v1/predict", predict, methods=["POST"])])

    async def beat(self, known: int | None, tallies: Any) -> Plan | None:
        for number, tally in tallies.items():
            self.tallies.setdefault(number, Tally()).add(tally)
        return self.plan if known != self.plan.sequence else None

    @asynccontextmanager
    async def served(self) -> AsyncIterator[httpx.AsyncClient]:
        front = build_front(self.build, self.beat)
        transport = httpx.ASGITransport(front, raise_app_exceptions=False)
        async with (
            front.router.lifespan_context(front),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            yield client


@pytest.fixture
def releases(release: Release) -> Releases:
    return Releases(release)


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    answer = await client.post("/v1/predict", json={"inputs": {}}, headers=headers)
    await asyncio.sleep(0.01)  # comparisons have their turn, as they do between real requests
    return answer


async def told(releases: Releases, number: int, requests: int) -> Tally:
    """What the conductor has heard of a release, once it has heard so much."""
    async with asyncio.timeout(10):
        while releases.tallies.get(number, Tally()).requests < requests:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.6)  # comparisons that are still under way
    return releases.tallies[number]


def test_a_canary_gets_its_share_exactly_and_says_the_same(releases: Releases) -> None:
    async def scenario() -> None:
        async with releases.served() as client:
            answers = [await ask(client) for _ in range(40)]
            given = Counter(answer.headers[RELEASE_HEADER] for answer in answers)
            name = releases.active.release.sweep
            assert given == {f"{name}@1": 30, f"{name}@2": 10}
            canary, active = await told(releases, 2, 10), await told(releases, 1, 30)
            assert (canary.requests, canary.errors, len(canary.seconds)) == (10, 0, 10)
            assert active.requests == 30  # what is only compared counts nowhere
            assert (canary.compared, canary.disagreements) == (10, 0)
            assert canary.tolerated == pytest.approx(10 * 0.2)
            assert 'paretoken_share{release="2"} 0.25' in (await client.get("/metrics")).text

    asyncio.run(scenario())


def test_another_answer_is_noticed(releases: Releases) -> None:
    async def other(_: Any) -> JSONResponse:
        return JSONResponse({"output": {"label": 4}}, 200, HEADERS)

    async def scenario() -> None:
        releases.behaviour[2] = other
        async with releases.served() as client:
            for _ in range(8):
                await ask(client)
            canary = await told(releases, 2, 2)
            assert (canary.compared, canary.disagreements) == (2, 2)

    asyncio.run(scenario())


async def refusing(_: Any) -> JSONResponse:
    return JSONResponse({"detail": "no"}, 503)


async def raising(_: Any) -> JSONResponse:
    raise RuntimeError("a bug of the new release")


async def hanging(_: Any) -> JSONResponse:
    await asyncio.sleep(3600)
    raise AssertionError


@pytest.mark.parametrize("behaviour", [refusing, raising, hanging])
def test_what_a_canary_does_not_answer_the_active_release_does(
    releases: Releases, monkeypatch: pytest.MonkeyPatch, behaviour: Any
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(switching, "PATIENCE_SECONDS", 0.2)
        releases.behaviour[2] = behaviour
        async with releases.served() as client:
            answers = [await ask(client) for _ in range(12)]
            assert {answer.status_code for answer in answers} == {200}
            assert {answer.json()["output"]["sure"] for answer in answers} == {0.1}
            canary, active = await told(releases, 2, 3), await told(releases, 1, 12)
            assert (canary.requests, canary.errors, canary.seconds) == (3, 3, [])
            assert (active.requests, active.errors, len(active.seconds)) == (12, 0, 9)
            page = (await client.get("/metrics")).text
            assert 'paretoken_fallbacks_total{endpoint="/v1/predict"} 3.0' in page

    asyncio.run(scenario())


def test_a_slow_stream_that_has_begun_is_not_cut_off(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.5)
        yield b"b"

    async def streaming(_: Any) -> StreamingResponse:
        return StreamingResponse(pieces(), headers=HEADERS)

    async def scenario() -> None:
        monkeypatch.setattr(switching, "PATIENCE_SECONDS", 0.2)
        releases.behaviour[2] = streaming
        async with releases.served() as client:
            answers = [await ask(client) for _ in range(4)]
            assert answers[-1].content == b"ab"
            assert (await told(releases, 2, 1)).errors == 0

    asyncio.run(scenario())


def test_a_request_may_name_its_release(releases: Releases) -> None:
    async def scenario() -> None:
        async with releases.served() as client:
            for wanted in ("2", releases.canary.name):
                answer = await ask(client, **{RELEASE_HEADER: wanted})
                assert answer.headers[RELEASE_HEADER] == releases.canary.name
            unknown = await ask(client, **{RELEASE_HEADER: "3"})
            assert unknown.status_code == 404
            assert "these are: serving-tests@1, serving-tests@2" in unknown.json()["detail"]

    asyncio.run(scenario())


def test_a_new_plan_is_followed_while_requests_are_under_way(releases: Releases) -> None:
    async def scenario() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def waiting(_: Any) -> JSONResponse:
            begun.set()
            await go_on.wait()
            return JSONResponse({"output": {"label": 1}}, 200, HEADERS)

        releases.plan = Plan(7, releases.active)
        releases.behaviour[1] = waiting
        async with releases.served() as client:
            slow = asyncio.create_task(ask(client))
            await begun.wait()
            releases.plan = Plan(8, releases.canary, previous=None)
            await asyncio.sleep(0.6)
            assert (await ask(client)).headers[RELEASE_HEADER] == releases.canary.name
            go_on.set()
            assert (await slow).headers[RELEASE_HEADER] == releases.active.name

    asyncio.run(scenario())
