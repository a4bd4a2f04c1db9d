"""An HTTP server for an ASGI application, in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEEP_ALIVE_SECONDS: Final = 90
"""Longer than clients keep an idle connection, so that none is closed while a request comes."""
GRACE_SECONDS: Final = 20
"""For so long, requests under way may go on when the server stops."""


@contextmanager
def listening(app: ASGIApp, **options: Any) -> Iterator[None]:
    """Answer requests for the length of the block; ``options`` are those of uvicorn.

    Requests under way end before the block does. Raises RuntimeError where the server does not
    start.
    """
    config = uvicorn.Config(
        HangingUp(app),
        log_level="error",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server,), name="http")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the HTTP server did not start; its errors are above")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        while thread.is_alive():
            # an idle connection with TLS would be waited for until its caller looks at it
            server.force_exit = not server.server_state.tasks
            thread.join(0.1)


def _run(server: uvicorn.Server) -> None:
    with suppress(SystemExit):  # uvicorn's word for not having started
        server.run()


class HangingUp:
    """Cancels a request whose caller has hung up, so that no model works for nobody."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless nobody listens any more."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue(1)
        answering = asyncio.ensure_future(self._app(scope, messages.get, send))
        watching = asyncio.create_task(_watch(receive, messages, answering))
        try:
            await answering
        except asyncio.CancelledError:
            if not watching.done():
                answering.cancel()  # it is the server that stops
                raise
        finally:
            watching.cancel()


async def _watch(
    receive: Receive, messages: asyncio.Queue[Message], answering: asyncio.Future[None]
) -> None:
    while (message := await receive())["type"] != "http.disconnect":
        await messages.put(message)
    answering.cancel()
