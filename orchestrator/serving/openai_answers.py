"""Answers on their way, in OpenAI's shapes: whole, or as server-sent events."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from orchestrator.serving.messages import Ending, Event, Refusal, UnavailableError
from orchestrator.serving.observed import Observation, observation
from orchestrator.serving.openai_schemas import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    Completion,
    Provenance,
    TextChoice,
    Usage,
)
from orchestrator.serving.points import point_name
from orchestrator.serving.refusals import InputsError, openai_error
from orchestrator.serving.router import Route
from orchestrator.serving.schemas import ConfigurationCard


class Answering:
    """One answer on its way, in OpenAI's shape."""

    def __init__(self, route: Route, shape: Shape, events: AsyncIterator[Event]) -> None:
        self._route = route
        self._shape = shape
        self._events = events
        self._seen = observation()
        self._base = {
            "id": f"{shape.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": point_name(route.workload, route.configuration),
        }

    async def whole(self) -> dict[str, Any]:
        """All of it. Raises InputsError where it turns out that there is none."""
        text = ""
        async for event in self._events:
            if isinstance(event, Refusal):
                raise InputsError(event.reason, event.code)
            if isinstance(event, Ending):
                _note(self._seen, event)
                return self._finished(text, event)
            text += event.text
        raise UnavailableError("the answer broke off; try again")

    async def stream(self, include_usage: bool) -> AsyncIterator[str]:
        """Server-sent events; an error after the first is an event as well."""
        for delta in self._shape.opening():
            yield self._chunk(delta, None)
        try:
            async for event in self._events:
                if isinstance(event, Ending):
                    _note(self._seen, event)
                    for line in self._ending(event, include_usage):
                        yield line
                elif isinstance(event, Refusal):
                    self._seen.broke_off = True
                    yield _line(openai_error(400, event.reason, event.code))
                elif event.text:
                    yield self._chunk(self._shape.delta(event.text), None)
        except Exception:  # the status is long sent; the text of an error is not the caller's
            self._seen.broke_off = True
            yield _line(openai_error(503, "the answer broke off; try again"))
        yield "data: [DONE]\n\n"

    def _ending(self, ending: Ending, include_usage: bool) -> Sequence[str]:
        provenance = self._provenance(ending)
        last = [self._chunk(self._shape.delta(""), ending.finish_reason, paretoken=provenance)]
        if include_usage:
            usage = Usage.of(ending).model_dump()
            last.append(
                _line({**self._base, **self._shape.streamed, "choices": [], "usage": usage})
            )
        return last

    def _chunk(self, delta: dict[str, Any], reason: str | None, **more: Any) -> str:
        choice = {"index": 0, "logprobs": None, "finish_reason": reason, **delta}
        return _line({**self._base, **self._shape.streamed, "choices": [choice], **more})

    def _finished(self, text: str, ending: Ending) -> dict[str, Any]:
        answer = self._shape.answer(
            text,
            ending,
            {**self._base, "usage": Usage.of(ending), "paretoken": self._provenance(ending)},
        )
        return answer.model_dump(mode="json")

    def _provenance(self, ending: Ending) -> dict[str, Any]:
        return Provenance(
            workload=self._route.workload.name,
            configuration=ConfigurationCard.of(self._route.configuration),
            measured=self._route.configuration.measured,
            held=Provenance.held_of(ending),
        ).model_dump(mode="json")


class TextShape:
    """Of a completion."""

    prefix = "cmpl"
    streamed: ClassVar[dict[str, str]] = {"object": "text_completion"}

    def opening(self) -> list[dict[str, Any]]:
        """Before the first piece."""
        return []

    def delta(self, text: str) -> dict[str, Any]:
        """A piece."""
        return {"text": text}

    def answer(self, text: str, ending: Ending, fields: dict[str, Any]) -> BaseModel:
        """The whole."""
        choice = TextChoice(text=text, finish_reason=ending.finish_reason)
        return Completion(choices=[choice], **fields)


class ChatShape:
    """Of a chat."""

    prefix = "chatcmpl"
    streamed: ClassVar[dict[str, str]] = {"object": "chat.completion.chunk"}

    def opening(self) -> list[dict[str, Any]]:
        """Before the first piece: who speaks."""
        return [{"delta": {"role": "assistant", "content": ""}}]

    def delta(self, text: str) -> dict[str, Any]:
        """A piece; the last chunk has none."""
        return {"delta": {"content": text} if text else {}}

    def answer(self, text: str, ending: Ending, fields: dict[str, Any]) -> BaseModel:
        """The whole."""
        message = AnswerMessage(content=text)
        choice = ChatChoice(message=message, finish_reason=ending.finish_reason)
        return ChatCompletion(choices=[choice], **fields)


Shape = TextShape | ChatShape


def _note(seen: Observation, ending: Ending) -> None:
    seen.tokens_in = ending.prompt_tokens
    seen.tokens_kept = ending.tokens_kept
    seen.tokens_out = ending.completion_tokens


def _line(content: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
