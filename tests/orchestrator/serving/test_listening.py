"""The HTTP server in this process: who hangs up is not worked for, who waits gets an answer."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from orchestrator.serving.listening import listening
from orchestrator.serving.observed import ENDPOINTS, Observation, Observed


class Slow:
    """Answers once it is let go."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        self.go = threading.Event()
        self.was_cancelled = False

    async def answer(self, request: Request) -> Response:
        """The body, once it is time."""
        body = await request.body()
        self.began.set()
        try:
            while not self.go.is_set():
                await anyio.sleep(0.01)
            return PlainTextResponse(body)
        except anyio.get_cancelled_exc_class():
            self.was_cancelled = True
            raise
        finally:
            self.ended.set()

    @property
    def app(self) -> Starlette:
        """An application of it."""
        return Starlette(routes=[Route("/", self.answer, methods=["POST"])])


@contextmanager
def at_work(app: ASGIApp) -> Iterator[str]:
    """The address of a server."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with listening(app, bound):
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"


class Counted:
    """What was seen of each request."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def count(self, _endpoint: str, seen: Observation, _seconds: float) -> None:
        """Note one."""
        self.seen.append(seen)


def test_a_caller_who_hangs_up_is_not_worked_for() -> None:
    slow = Slow()
    with at_work(slow.app) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address, content=b"x", timeout=0.5)
        assert slow.ended.wait(10)
        assert slow.was_cancelled


def test_who_listens_to_the_end_has_not_hung_up() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece"
            await anyio.sleep(0)

    async def stream(_: Request) -> Response:
        return StreamingResponse(pieces())

    counted = Counted()
    app = Starlette(routes=[Route(ENDPOINTS[0], stream)])
    with (
        at_work(Observed(app, [counted])) as address,
        httpx.Client(base_url=address) as client,
    ):
        for _ in range(10):
            assert client.get(ENDPOINTS[0]).content == 3 * b"piece"
    assert [(seen.status, seen.hung_up) for seen in counted.seen] == 10 * [(200, False)]


def test_a_large_body_arrives_and_connections_are_used_again() -> None:
    slow = Slow()
    slow.go.set()
    body = bytes(range(256)) * 2**13
    with at_work(slow.app) as address, httpx.Client(base_url=address) as client:
        for _ in range(3):
            assert client.post("/", content=body).content == body


def test_requests_under_way_end_before_the_server_does() -> None:
    slow = Slow()
    with ThreadPoolExecutor(1) as threads:
        with at_work(slow.app) as address:
            asked = threads.submit(httpx.post, address, content=b"kept")
            assert slow.began.wait(10)
            threading.Timer(0.5, slow.go.set).start()
        assert asked.result().content == b"kept"
        assert not slow.was_cancelled


def test_who_reads_slowly_gets_all_of_the_answer_though_the_server_stops() -> None:
    size, began = 16 * 2**20, threading.Event()

    def read(address: str) -> int:
        with httpx.stream("GET", address) as answer:
            total = 0
            for piece in answer.iter_raw(2**20):
                total += len(piece)
                began.set()
                time.sleep(0.1)
            return total

    app = Starlette(routes=[Route("/", lambda _: Response(bytes(size)))])
    with ThreadPoolExecutor(1) as threads:
        with at_work(app) as address:
            reading = threads.submit(read, address)
            assert began.wait(10)
        assert reading.result() == size


def test_the_end_is_quiet_and_tells_the_application(caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        told.set()

    app = Starlette(routes=[Route("/", lambda _: Response(b"x"))], lifespan=life)
    with (
        caplog.at_level(logging.ERROR),
        at_work(app) as address,
        httpx.Client(base_url=address) as idle,
    ):
        assert idle.get("/").is_success
        began = time.monotonic()
    assert told.is_set()
    assert not caplog.records
    assert time.monotonic() - began < 15  # not the grace that work under way has


def test_a_head_without_end_does_not_get_in() -> None:
    slow = Slow()
    with at_work(slow.app) as address:
        with suppress(httpx.TransportError):  # it may be hung up on before it can read its 400
            assert httpx.post(address, headers={"x-long": "x" * 2**20}).status_code == 400
        assert not slow.began.is_set()


def test_a_server_that_cannot_start_is_an_error() -> None:
    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        raise ValueError("not today")
        yield

    with pytest.raises(RuntimeError, match="did not start"), at_work(Starlette(lifespan=life)):
        pass
