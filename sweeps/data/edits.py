"""Contexts before and after an edit, and questions about what stands there afterwards.

The edited contexts are like those of :mod:`sweeps.data.contexts`: filler with key-value pairs in
it. They have three parts, and no pair crosses from one to the next: the front, an eighth of the
context; the edited span; and the rest, which was read before the edit and stands elsewhere now.
Pairs are as dense in all of them.

Edits: `insert` puts the span in; `delete` takes a span away that held pairs of its own; `replace`
puts the span where a half as long one stood, which held the same keys with other values.

Shapes: B examples, T context length before the edit, R tokens put in, P pairs, L = 3 tokens of a
value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from sweeps.data import contexts
from sweeps.data.contexts import Ints
from sweeps.data.streams import BLOCK, Split, generators, leading

Kind = Literal["insert", "delete", "replace"]
Asked = Literal["elsewhere", "inside"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
FRONT: Final = 8  # the front is the context's length over this


@dataclass(frozen=True)
class Plan:
    """How long the parts are and how many pairs they hold."""

    kind: Kind
    context_length: int
    """Tokens after the edit."""
    num_pairs: int
    """Pairs after the edit."""
    edit_length: int
    """Tokens of the span."""

    @property
    def start(self) -> int:
        """Tokens of the front, the start token included; so the position of the span."""
        return self.context_length // FRONT

    @property
    def old_length(self) -> int:
        """Tokens that give way."""
        return {"insert": 0, "delete": self.edit_length, "replace": self.edit_length // 2}[
            self.kind
        ]

    @property
    def new_length(self) -> int:
        """Tokens put in, R."""
        return 0 if self.kind == "delete" else self.edit_length

    @property
    def front_pairs(self) -> int:
        """Pairs in the front."""
        return self.num_pairs * self.start // self.context_length

    @property
    def span_pairs(self) -> int:
        """Pairs in the span, the deleted one or the one put in: at least 1."""
        return max(1, self.num_pairs * self.edit_length // self.context_length)

    @property
    def new_pairs(self) -> int:
        """Pairs that the edit puts in; 0 where it deletes."""
        return self.span_pairs if self.new_length else 0

    @property
    def old_pairs(self) -> int:
        """Pairs that give way."""
        return self.span_pairs if self.old_length else 0

    @property
    def rest_pairs(self) -> int:
        """Pairs behind the edit."""
        return self.num_pairs - self.front_pairs - self.new_pairs

    @property
    def rest_length(self) -> int:
        """Tokens behind the edit."""
        return self.context_length - self.start - self.new_length

    def problem(self) -> str | None:
        """Why there are no such contexts, or None."""
        parts = {
            "the front": (self.start - 1, self.front_pairs),
            "the edited span": (self.new_length, self.new_pairs),
            "the span before": (self.old_length, self.old_pairs),
            "the rest": (self.rest_length, self.rest_pairs),
        }
        for name, (length, pairs) in parts.items():
            if pairs * contexts.PAIR_LENGTH > length:
                return f"{pairs} pairs do not fit {name} of {length} tokens"
        if self.rest_pairs < 1:
            return f"num_pairs {self.num_pairs} leaves no pair behind the edit"
        if self.num_pairs + self.old_pairs > contexts.MAX_PAIRS:
            most = contexts.MAX_PAIRS - self.old_pairs
            return f"num_pairs {self.num_pairs} is above {most}: {self.old_pairs} are edited away"
        return None


@dataclass(frozen=True)
class Examples:
    """Contexts before the edit, what is put in, and a question after it."""

    before: Ints  # [B, T]
    replacement: Ints  # [B, R]
    question: Ints  # [B, 2], question mark and key
    answer: Ints  # [B, L]


def stream(split: Split, count: int, plan: Plan, asked: Asked) -> Examples:
    """The first `count` examples of a split's fixed stream, all edited at ``plan.start``."""
    numbers = (contexts.split_index(split), KINDS.index(plan.kind), plan.context_length)
    seed = (contexts.DATA_SEED, *numbers, plan.num_pairs, plan.edit_length)
    return leading([_block(rng, plan, asked) for rng in generators(seed, count)], count)


def _block(rng: np.random.Generator, plan: Plan, asked: Asked) -> Examples:
    pieces = _pieces(rng, plan.num_pairs + plan.old_pairs)
    first, last = plan.front_pairs, plan.front_pairs + plan.new_pairs
    old = pieces[:, plan.num_pairs :].copy()
    if plan.kind == "replace":
        old[..., 0] = pieces[:, first:last, 0]
    front = contexts.hide(rng, pieces[:, :first], plan.start)[0]
    new = _hidden(rng, pieces[:, first:last], plan.new_length)
    rest = _hidden(rng, pieces[:, last : plan.num_pairs], plan.rest_length)
    before = np.concatenate([front, _hidden(rng, old, plan.old_length), rest], axis=1)
    low, high = (first, last) if asked == "inside" else (last, plan.num_pairs)
    chosen = pieces[np.arange(BLOCK), rng.integers(low, high, BLOCK)]
    question = np.stack([np.full(BLOCK, contexts.QUESTION), chosen[:, 0]], axis=1)
    return Examples(before, new, question, chosen[:, 1:-1])


def _pieces(rng: np.random.Generator, num_pairs: int) -> Ints:
    """Pairs whose keys and value tokens all differ: keys, values and delimiters [B, P, 5]."""
    alphabet = np.tile(np.arange(contexts.SYMBOLS), (BLOCK, 1))
    keys_BP = rng.permuted(alphabet, axis=1)[:, :num_pairs] + contexts.FIRST_KEY
    values_BPL = contexts.distinct_values(rng, BLOCK, num_pairs)
    delimiters_BP1 = np.full((BLOCK, num_pairs, 1), contexts.DELIMITER)
    return np.concatenate([keys_BP[..., None], values_BPL, delimiters_BP1], axis=2)


def _hidden(rng: np.random.Generator, pieces_BPL: Ints, length: int) -> Ints:
    """Filler with pieces in it and no start token, [B, length]."""
    return contexts.hide(rng, pieces_BPL, length + 1)[0][:, 1:]
