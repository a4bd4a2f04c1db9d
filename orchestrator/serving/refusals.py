"""How the HTTP side says no: every refusal is a ``Problem`` with one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.serving.messages import UnavailableError
from orchestrator.serving.router import NothingFitsError, UnknownNameError, UnroutableError
from orchestrator.serving.schemas import NearestBudget, Problem

MAX_BODY_BYTES = 8 * 2**20
"""A request with more is refused."""
_MAX_MISTAKES = 5  # named in one answer
_MAX_PIECE = 200  # characters of the caller's own words in an answer
_MAX_DEPTH = 4  # steps into the request that a place names


OPENAI_PATHS = ("/v1/models", "/v1/completions", "/v1/chat/")
_OPENAI_TYPES = {401: "authentication_error", 429: "rate_limit_error", 503: "server_error"}


class InputsError(ValueError):
    """The task cannot read these inputs, or the model has no answer to them."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


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


def openai_error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """OpenAI's shape of a refusal."""
    kind = _OPENAI_TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def problem(
    request: HTTPConnection,
    status: int,
    detail: str,
    nearest: NearestBudget | None = None,
    code: str | None = None,
) -> JSONResponse:
    """A refusal, in the shape that the path's clients know."""
    # What the caller wrote may come back in the sentence, and need not be valid Unicode.
    readable = detail.encode("utf-8", "backslashreplace").decode()
    if not request.url.path.startswith(OPENAI_PATHS):
        content = Problem(detail=readable, nearest=nearest).model_dump(exclude_none=nearest is None)
        return JSONResponse(content, status)
    status = 400 if status == 422 else status
    error = openai_error(status, readable, code)
    if nearest is not None:
        error["error"]["nearest"] = nearest.model_dump()
    return JSONResponse(error, status)


async def _unknown_name(request: Request, error: Exception) -> JSONResponse:
    return problem(request, 404, str(error), code="model_not_found")


async def _unprocessable(request: Request, error: Exception) -> JSONResponse:
    return problem(request, 422, str(error), code=getattr(error, "code", None))


async def _nothing_fits(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NothingFitsError)
    nearest = error.nearest
    budget = NearestBudget(max_cost=dict(nearest.max_cost), min_quality=nearest.min_quality)
    return problem(request, 422, str(error), budget)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    mistakes = list(error.errors())
    sentences = [_sentence(mistake) for mistake in mistakes[:_MAX_MISTAKES]]
    if len(mistakes) > _MAX_MISTAKES:
        sentences.append(f"and {len(mistakes) - _MAX_MISTAKES} more")
    return problem(request, 422, "; ".join(sentences))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = problem(request, error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    return problem(request, 503, str(error))


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
