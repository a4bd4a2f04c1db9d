"""An HTTP server for an ASGI application, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
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
_FAREWELL_SECONDS: Final = 1.0
"""For so long, idle callers may take note that the server stops."""


@contextmanager
def listening(app: ASGIApp, at: socket.socket, **options: Any) -> Iterator[threading.Thread]:
    """Answer requests that come to a bound socket for the length of the block.

    ``options`` are those of uvicorn. Yields the thread that answers, which ends with the block, or
    where something is very wrong. Requests under way end before the block does. Raises
    RuntimeError where the server does not start.
    """
    config = uvicorn.Config(
        HangingUp(app),
        http="h11",  # it limits what the head of a request may take
        log_level="error",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )
    server = _Server(config)
    thread = threading.Thread(target=_run, args=(server, at), name="http", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the HTTP server did not start; its errors are above")
            time.sleep(0.01)
        yield thread
    finally:
        server.should_exit = True
        thread.join(GRACE_SECONDS + 10)


def _run(server: uvicorn.Server, at: socket.socket) -> None:
    with suppress(SystemExit):  # uvicorn's word for not having started
        server.run(sockets=[at])


class _Server(uvicorn.Server):
    """Does not wait for callers who have been answered and do not look at their connection."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way, then everything."""
        leaving = asyncio.create_task(self._leave_idle())
        await super().shutdown(sockets)
        leaving.cancel()

    async def _leave_idle(self) -> None:
        """With TLS, a connection is closed once its caller agrees, who may be asleep."""
        while True:
            await asyncio.sleep(_FAREWELL_SECONDS)
            connections: list[Any] = [*self.server_state.connections]
            for each in connections:
                is_idle = each.cycle is None or each.cycle.response_complete
                if is_idle and not each.transport.get_write_buffer_size():
                    each.transport.abort()


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
        is_answered = asyncio.Event()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                is_answered.set()  # from now on uvicorn says that the caller is gone
            await send(message)

        answering = asyncio.ensure_future(self._app(scope, messages.get, sent))
        watching = asyncio.create_task(_watch(receive, messages, answering, is_answered))
        try:
            await answering
        except asyncio.CancelledError:
            if not watching.done():
                answering.cancel()  # it is the server that stops
                raise
        finally:
            watching.cancel()


async def _watch(
    receive: Receive,
    messages: asyncio.Queue[Message],
    answering: asyncio.Future[None],
    is_answered: asyncio.Event,
) -> None:
    """Pass messages on until the caller is gone."""
    try:
        while (message := await receive())["type"] != "http.disconnect":
            await messages.put(message)
    finally:
        if not is_answered.is_set():
            answering.cancel()
