"""Prompt lookup: what followed the last words the last time is the draft.

Apoorv Saxena, github.com/apoorvumang/prompt-lookup-decoding, also in transformers as
``prompt_lookup_num_tokens``; no paper. The longest n-gram at the end of the sequence that stands in
it before is looked up, longest first, and the tokens behind it are drafted. The author takes the
first such place and so do we.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from methods.base import Paper
from methods.decoding._base import Drafter


class PromptLookup(Drafter):
    """Copies what stood behind an earlier occurrence of the last tokens."""

    paper: ClassVar[Paper | None] = Paper(
        title="Prompt Lookup Decoding",
        code="https://github.com/apoorvumang/prompt-lookup-decoding",
    )

    max_ngram: int = Field(default=3, ge=1, le=32, description="Longest n-gram looked up.")

    def draft(self, tokens_T: Tensor) -> Tensor:
        """The tokens behind the first earlier occurrence of the longest n-gram found."""
        num_tokens = len(tokens_T)
        for length in range(min(self.max_ngram, num_tokens - 1), 0, -1):
            windows_WL = tokens_T[:-1].unfold(0, length, 1)
            found = (windows_WL == tokens_T[-length:]).all(1).nonzero()
            if len(found):
                start = int(found[0]) + length
                return tokens_T[start : start + self.num_draft]
        return tokens_T[:0]
