"""Requests and answers in OpenAI's shapes, as far as compressed models can keep them.

Answers are greedy and one at a time: fields that ask for anything else are refused, not ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from orchestrator.serving.messages import Continuation, Ending, Message
from orchestrator.serving.schemas import (
    Closed,
    ConfigurationCard,
    MaxCost,
    MinQuality,
    Name,
)
from sweeps.trial import Metrics

MAX_TOKENS = 4096
MAX_MESSAGES = 64
MAX_IMAGES = 16
MAX_STOPS = 4
_Zero = Annotated[float, Field(ge=0, le=0)] | None
_One = Annotated[int, Field(ge=1, le=1)] | None
_Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None
_Stop = Annotated[str, Field(min_length=1, max_length=200)]
_GREEDY = "Answers are greedy; leave it out or send 0."


class StreamOptions(Closed):
    """What a stream holds besides pieces."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class Request(Closed):
    """What completions and chats have in common."""

    model_config = ConfigDict(strict=True)

    model: Name = Field(
        description="A point as `/v1/models` lists them, a trial id, `auto`, or `WORKLOAD:auto`."
    )
    max_cost: MaxCost = None
    min_quality: MinQuality = None
    max_tokens: _Tokens = Field(default=None, description="By default what the task asks for.")
    stop: _Stop | Annotated[list[_Stop], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: _Zero = Field(default=None, description=_GREEDY)
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Without effect on a greedy answer."
    )
    n: _One = None
    seed: int | None = Field(default=None, description="Equal requests get equal answers anyway.")
    presence_penalty: _Zero = Field(default=None, description=_GREEDY)
    frequency_penalty: _Zero = Field(default=None, description=_GREEDY)
    user: Name | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def continuation(self) -> Continuation:
        """What the engine gets."""
        raise NotImplementedError

    @property
    def has_images(self) -> bool:
        """Whether there is anything to look at."""
        return False


class CompletionRequest(Request):
    """A prompt to go on from."""

    prompt: str | list[int] = Field(description="A text, or tokens.")

    @property
    def continuation(self) -> Continuation:
        """What the engine gets."""
        prompt = self.prompt if isinstance(self.prompt, str) else tuple(self.prompt)
        return Continuation(prompt, self.max_tokens, self.stops)


class TextPart(Closed):
    """Some text of a message."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class ImageURL(Closed):
    """An image."""

    model_config = ConfigDict(strict=True)

    url: str = Field(description="A data URI: `data:image/png;base64,...`. Nothing is fetched.")
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Closed):
    """An image of a message."""

    model_config = ConfigDict(strict=True)

    type: Literal["image_url"]
    image_url: ImageURL


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Closed):
    """One message."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1, max_length=2 * MAX_IMAGES)]
    name: Name | None = None

    @property
    def plain(self) -> Message:
        """Texts one after another, and images in order."""
        if isinstance(self.content, str):
            return Message(self.role, self.content)
        texts = [part.text for part in self.content if isinstance(part, TextPart)]
        images = [part.image_url.url for part in self.content if isinstance(part, ImagePart)]
        return Message(self.role, "".join(texts), tuple(images))


class ChatRequest(Request):
    """Messages to answer."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: _Tokens = None

    @property
    def continuation(self) -> Continuation:
        """What the engine gets."""
        most = self.max_completion_tokens or self.max_tokens
        return Continuation(tuple(m.plain for m in self.messages), most, self.stops)

    @property
    def has_images(self) -> bool:
        """Whether there is anything to look at."""
        return any(message.plain.images for message in self.messages)


class Usage(Closed):
    """Tokens of prompt and answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, ending: Ending) -> Usage:
        """Of an answer."""
        given = ending.completion_tokens
        return cls(
            prompt_tokens=ending.prompt_tokens,
            completion_tokens=given,
            total_tokens=ending.prompt_tokens + given,
        )


class Held(Closed):
    """What this answer's cache really held once the prompt was read and compressed."""

    tokens_kept: float
    """Of the prompt's tokens, per layer on average."""
    kv_bytes: int
    compressed: bool
    """False where the prompt was too short to compress anything."""


class Provenance(Closed):
    """Who answered, what was measured when it was chosen, and what this answer took."""

    workload: str
    configuration: ConfigurationCard
    measured: Metrics
    held: Held

    @staticmethod
    def held_of(ending: Ending) -> Held:
        """Of an answer."""
        return Held(
            tokens_kept=ending.tokens_kept,
            kv_bytes=ending.kv_bytes,
            compressed=ending.compressed,
        )


class ModelCard(Closed):
    """One name that requests may give as their model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["paretoken"] = "paretoken"
    workload: str
    configuration: ConfigurationCard | None
    """None for `auto`, which chooses."""
    measured: Metrics | None
    tokenizer: str
    """What a token is."""
    chat_template: str
    """How messages become a prompt."""
    images: int
    """Images that every chat holds."""
    context_length: int


class ModelList(Closed):
    """Every name."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Choice(Closed):
    """The answer."""

    index: int = 0
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class TextChoice(Choice):
    """Of a completion."""

    text: str


class AnswerMessage(Closed):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(Choice):
    """Of a chat."""

    message: AnswerMessage


class Completion(Closed):
    """An answer to a prompt."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    paretoken: Provenance


class ChatCompletion(Closed):
    """An answer to messages."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    paretoken: Provenance


class OpenAIProblem(Closed):
    """Why there is no answer."""

    error: dict[str, Any]
    """`message`, `type`, `param`, `code`."""
