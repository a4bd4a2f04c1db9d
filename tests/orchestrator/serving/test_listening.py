"""The HTTP server in this process: who hangs up is not worked for, who waits gets an answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orchestrator.serving.listening import listening
from tests.benchmarks.serving_process import free_port


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


def test_a_caller_who_hangs_up_is_not_worked_for() -> None:
    slow, port = Slow(), free_port()
    with listening(slow.app, host="127.0.0.1", port=port):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"http://127.0.0.1:{port}/", content=b"x", timeout=0.5)
        assert slow.ended.wait(10)
        assert slow.was_cancelled


def test_a_large_body_arrives_and_connections_are_used_again() -> None:
    slow, port = Slow(), free_port()
    slow.go.set()
    body = bytes(range(256)) * 2**13
    with (
        listening(slow.app, host="127.0.0.1", port=port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        for _ in range(3):
            assert client.post("/", content=body).content == body


def test_requests_under_way_end_before_the_server_does() -> None:
    slow, port = Slow(), free_port()
    with ThreadPoolExecutor(1) as threads:
        with listening(slow.app, host="127.0.0.1", port=port):
            asked = threads.submit(httpx.post, f"http://127.0.0.1:{port}/", content=b"kept")
            assert slow.began.wait(10)
            threading.Timer(0.5, slow.go.set).start()
        assert asked.result().content == b"kept"
        assert not slow.was_cancelled


def test_a_server_that_cannot_start_is_an_error() -> None:
    slow, port = Slow(), free_port()
    with (
        listening(slow.app, host="127.0.0.1", port=port),
        pytest.raises(RuntimeError, match="did not start"),
        listening(slow.app, host="127.0.0.1", port=port),
    ):
        pass
