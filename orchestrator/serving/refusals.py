"""How the HTTP side says no: every refusal is a ``Problem`` with one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.serving.messages import UnavailableError
from orchestrator.serving.router import NothingFitsError, UnknownNameError, UnroutableError
from orchestrator.serving.schemas import NearestBudget, Problem

_MAX_MISTAKES = 5  # named in one answer
_MAX_PIECE = 200  # characters of the caller's own words in an answer
_MAX_DEPTH = 4  # steps into the request that a place names


class InputsError(ValueError):
    """The task cannot read these inputs, or the model has no answer to them."""


class BodyLimit:
    """Refuses bodies that are too long, announced or not, without reading them to the end."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if max(received, announced) > self._max_bytes:
                raise HTTPException(413, f"the body may have at most {self._max_bytes} bytes")
            return message

        announced = _announced_length(scope)
        await self._app(scope, limited, send)


def _announced_length(scope: Scope) -> int:
    headers = dict(scope.get("headers", ()))
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _problem(status: int, detail: str, nearest: NearestBudget | None = None) -> JSONResponse:
    # What the caller wrote may come back in the sentence, and need not be valid Unicode.
    readable = detail.encode("utf-8", "backslashreplace").decode()
    content = Problem(detail=readable, nearest=nearest).model_dump(exclude_none=nearest is None)
    return JSONResponse(content, status)


async def _unknown_name(_: Request, error: Exception) -> JSONResponse:
    return _problem(404, str(error))


async def _unprocessable(_: Request, error: Exception) -> JSONResponse:
    return _problem(422, str(error))


async def _nothing_fits(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NothingFitsError)
    nearest = error.nearest
    budget = NearestBudget(max_cost=dict(nearest.max_cost), min_quality=nearest.min_quality)
    return _problem(422, str(error), budget)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    mistakes = list(error.errors())
    sentences = [_sentence(mistake) for mistake in mistakes[:_MAX_MISTAKES]]
    if len(mistakes) > _MAX_MISTAKES:
        sentences.append(f"and {len(mistakes) - _MAX_MISTAKES} more")
    return _problem(422, "; ".join(sentences))


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = _problem(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return _problem(503, str(error))


HANDLERS: dict[type[Exception], Any] = {
    UnknownNameError: _unknown_name,
    UnroutableError: _unprocessable,
    InputsError: _unprocessable,
    NothingFitsError: _nothing_fits,
    RequestValidationError: _invalid,
    HTTPException: _http,
    UnavailableError: _unavailable,
}


def _sentence(mistake: Mapping[str, Any]) -> str:
    if mistake["type"] == "json_invalid":
        return "the body is not valid JSON"
    return f"{_place(mistake['loc'])}: {mistake['msg'][:_MAX_PIECE]}"


def _place(loc: Sequence[Any]) -> str:
    """Where in the request, without the names of pydantic's union branches."""
    parts = [str(part)[:_MAX_PIECE] for part in loc if part not in ("number", "metrics")]
    return ".".join(parts[1 : 1 + _MAX_DEPTH]) or str(loc[0])
