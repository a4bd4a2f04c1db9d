"""Between text and tokens: what a model's task, or the tokenizer beside it, says that tokens are.

The models that ship know bytes, numbered symbols or words, and no dialogues. A Hugging Face model
with a tokenizer beside it uses that tokenizer and its chat template.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final

from orchestrator.serving.messages import Message
from sweeps.data import source_text
from sweeps.models import location
from sweeps.trial import AnyWeights, RandomWeights

MOST_TOKENS: Final = 256
"""Of an answer, where a request does not say and the task does not either."""
WINDOW: Final = 6
"""Tokens of a prompt that are decoded with an answer's first."""
TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
ONE_MESSAGE: Final = "none: the text of one user message is the prompt"


class Decoder(ABC):
    """Tokens to text, one by one."""

    @abstractmethod
    def step(self, token: int) -> str:
        """What this token adds; empty while a character is not complete."""

    def flush(self) -> str:
        """What is left at the end of an answer."""
        return ""


class Codec(ABC):
    """One way of writing a model's tokens as text."""

    name: ClassVar[str]
    """What a token is, in words."""
    chat: str = ONE_MESSAGE
    default_tokens: int = MOST_TOKENS

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """A prompt. Raises ValueError for text that the model does not know."""

    @abstractmethod
    def decoder(self, before: Sequence[int]) -> Decoder:
        """For one answer that goes on from the tokens ``before`` it; none before a chat's."""

    def dialogue(self, messages: Sequence[Message]) -> list[int]:
        """A prompt for the next message. Raises ValueError where the model knows no such chat."""
        return self.encode(only_message(messages).text)

    @property
    def described(self) -> str:
        """What a token is, in words."""
        return self.name


def only_message(messages: Sequence[Message]) -> Message:
    """The message of a chat that has no other. Raises ValueError elsewhere."""
    if len(messages) != 1 or messages[0].role != "user":
        roles = ", ".join(message.role for message in messages)
        raise ValueError(
            f"this model has no chat template: send one user message, the prompt; got {roles}"
        )
    return messages[0]


class Bytes(Codec):
    """UTF-8, behind the token that starts a sequence."""

    name = "bytes of UTF-8; token 256 starts a sequence and ends an answer"

    def encode(self, text: str) -> list[int]:
        """The start token and the text's bytes."""
        return [source_text.START, *text.encode("utf-8", errors="replace")]

    def decoder(self, before: Sequence[int]) -> Decoder:  # noqa: ARG002
        """Characters as their last byte comes."""
        return _Bytes()


class _Bytes(Decoder):
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def step(self, token: int) -> str:
        return self._decoder.decode(bytes([token])) if token < source_text.START else "\ufffd"

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class Numbers(Codec):
    """For models whose tokens stand for symbols without a spelling."""

    name = "numbers of tokens, separated by spaces: the task's symbols have no spelling"

    def __init__(self, default_tokens: int) -> None:
        self.default_tokens = default_tokens

    def encode(self, text: str) -> list[int]:
        """Of decimal numbers."""
        parts = text.split()
        bad = next((p for p in parts if not (p.isascii() and p.isdigit() and len(p) < 10)), None)
        if bad is not None:
            raise ValueError(
                f"this model's text is numbers of tokens, such as '1 140 2 5'; got {bad[:20]!r}"
            )
        return [int(part) for part in parts]

    def decoder(self, before: Sequence[int]) -> Decoder:  # noqa: ARG002
        """Numbers with spaces between."""
        return Spelled(None)


class Spelled(Decoder):
    """A word for each token, with spaces between; without words, its number."""

    def __init__(self, words: Sequence[str] | None) -> None:
        self._words = words
        self._space = ""

    def step(self, token: int) -> str:
        """The token's word, behind a space unless it is the first."""
        word = str(token) if self._words is None else self._words[token]
        space, self._space = self._space, " "
        return space + word


class HuggingFace(Codec):
    """The tokenizer that lies beside a model."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer = tokenizer
        self._name = name
        if tokenizer.chat_template:
            self.chat = "the tokenizer's own template"

    @property
    def described(self) -> str:
        """The tokenizer's class, and whose it is."""
        return f"{type(self._tokenizer).__name__} of {self._name}"

    def encode(self, text: str) -> list[int]:
        """With the special tokens that the tokenizer adds."""
        return list(self._tokenizer(_in_utf8(text))["input_ids"])

    def dialogue(self, messages: Sequence[Message]) -> list[int]:
        """By the tokenizer's template, ready for the assistant's turn."""
        if not self._tokenizer.chat_template:
            return super().dialogue(messages)
        chat = [{"role": message.role, "content": _in_utf8(message.text)} for message in messages]
        try:
            encoded = self._tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, return_dict=True
            )
        except Exception as error:  # templates raise what they like, such as for roles
            raise ValueError(f"the model's chat template refuses: {error}") from error
        return list(encoded["input_ids"])

    def decoder(self, before: Sequence[int]) -> Decoder:
        """Without special tokens; characters are given once complete."""
        return _Detokenized(self._tokenizer, before[-WINDOW:])


class _Detokenized(Decoder):
    """What a token spells depends on those before it: a few stay in front of what is decoded.

    Tokenizers such as Llama 2's leave out the space of the first word that they decode.
    """

    def __init__(self, tokenizer: Any, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before)
        self._start, self._given = 0, len(before)

    def step(self, token: int) -> str:
        self._tokens.append(token)
        return self._new(complete=True)

    def flush(self) -> str:
        return self._new(complete=False)

    def _new(self, complete: bool) -> str:
        before = self._text(self._tokens[self._start : self._given])
        whole = self._text(self._tokens[self._start :])
        if len(whole) <= len(before) or (complete and whole.endswith("\ufffd")):
            return ""
        self._start, self._given = self._given, len(self._tokens)
        return whole[len(before) :]

    def _text(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text


def _in_utf8(text: str) -> str:
    """JSON can hold half of a surrogate pair, which is no character: it becomes ``?``."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def tokenizer_beside(weights: AnyWeights) -> HuggingFace | None:
    """The tokenizer of a model's directory or hub id; None where there is none."""
    if isinstance(weights, RandomWeights):
        return None
    path = location(weights)
    if Path(path).is_absolute() and not any((Path(path) / f).is_file() for f in TOKENIZER_FILES):
        return None
    return _opened(path, weights.revision, weights.name)


@lru_cache(maxsize=8)
def _opened(path: str, revision: str | None, name: str) -> HuggingFace | None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision or "main")
    except (OSError, ValueError):  # a hub id without one
        return None
    return HuggingFace(tokenizer, name)
