"""Contexts of Markov filler in which key-value pairs are hidden.

A context begins with a start token; then comes filler from a sparse Markov chain, with pairs
anywhere in it: a key, its value of three tokens and a delimiter. The delimiter is there because
retrieval heads read the token *after* a value's last one; without it, keeping exactly a pair's
cache entries is no better than keeping random ones. The value tokens of a context differ, so that
the entry to read next is determined by the token just generated; where they recur, one-token
induction goes astray and the uncompressed model's own errors blur the comparison.

Vocabulary (196 tokens): 0 padding, 1 start, 2 question mark, 3 delimiter, 4..67 keys, 68..131
values, 132..195 filler.

Shapes: B examples, T context length, P pairs, L = 3 tokens of a value, F filler tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweeps.data.streams import BLOCK, Split, generators, leading

Ints = NDArray[np.int64]

PADDING: Final = 0
START: Final = 1
QUESTION: Final = 2
DELIMITER: Final = 3
SYMBOLS: Final = 64  # keys, values and filler tokens: so many of each
FIRST_KEY: Final = 4
FIRST_VALUE: Final = FIRST_KEY + SYMBOLS
FIRST_FILLER: Final = FIRST_VALUE + SYMBOLS
VOCABULARY: Final = FIRST_FILLER + SYMBOLS
VALUE_LENGTH: Final = 3
PAIR_LENGTH: Final = 1 + VALUE_LENGTH + 1  # key, value, delimiter
MAX_PAIRS: Final = SYMBOLS // VALUE_LENGTH  # so many values without a common token
SUCCESSORS: Final = 4  # of each filler token
DATA_SEED: Final = 20240607
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")


@dataclass(frozen=True)
class Contexts:
    """Contexts and what is hidden in them."""

    tokens: Ints  # [B, T]
    starts: Ints  # [B, P], positions of the keys, ascending
    keys: Ints  # [B, P], key tokens
    values: Ints  # [B, P, L], value tokens


def word(token: int) -> str:
    """A token as people read it: ``k7`` is a key, ``v7`` a value, ``f7`` filler."""
    marks = {PADDING: "", START: "⊢", QUESTION: "?", DELIMITER: ";"}
    if token in marks:
        return marks[token]
    kind, place = divmod(token - FIRST_KEY, SYMBOLS)
    return f"{'kvf'[kind]}{place}"


def _successors() -> Ints:
    """The chain: every filler token is followed by one of four others, equally likely."""
    rng = np.random.default_rng(DATA_SEED)
    return np.stack([rng.permutation(SYMBOLS)[:SUCCESSORS] for _ in range(SYMBOLS)])


_SUCCESSORS: Final = _successors()


def filler(rng: np.random.Generator, count: int, length: int) -> Ints:
    """Walks along the chain: [B, F] filler tokens."""
    walk = np.empty((count, length), np.int64)
    state = rng.integers(0, SYMBOLS, count)
    choice = rng.integers(0, SUCCESSORS, (count, length))
    for step in range(length):
        walk[:, step] = state
        state = _SUCCESSORS[state, choice[:, step]]
    return walk + FIRST_FILLER


def distinct_values(rng: np.random.Generator, count: int, num_pairs: int) -> Ints:
    """Values [B, P, L] in which no token of a context recurs; at most `MAX_PAIRS` pairs."""
    alphabet = np.tile(np.arange(SYMBOLS), (count, 1))
    chosen = rng.permuted(alphabet, axis=1)[:, : num_pairs * VALUE_LENGTH]
    return chosen.reshape(count, num_pairs, VALUE_LENGTH) + FIRST_VALUE


def recurring_values(rng: np.random.Generator, count: int, num_pairs: int) -> Ints:
    """Values [B, P, L] of independent tokens."""
    return rng.integers(0, SYMBOLS, (count, num_pairs, VALUE_LENGTH)) + FIRST_VALUE


def hide(rng: np.random.Generator, pieces_BPL: Ints, context_length: int) -> tuple[Ints, Ints]:
    """Contexts [B, T] of filler with pieces of L tokens in it, and where these start, [B, P].

    The pieces stand in the order given, anywhere; they must fit behind the start token.
    """
    count, num_pieces, length = pieces_BPL.shape
    spare = context_length - 1 - num_pieces * length
    before_BP = np.sort(rng.integers(0, spare + 1, (count, num_pieces)), axis=1)
    starts_BP = 1 + before_BP + length * np.arange(num_pieces)
    tokens_BT = np.zeros((count, context_length), np.int64)
    tokens_BT[:, 0] = START
    rows = np.arange(count)[:, None]
    for offset in range(length):
        tokens_BT[rows, starts_BP + offset] = pieces_BPL[..., offset]
    tokens_BT[tokens_BT == PADDING] = filler(rng, count, spare).ravel()
    return tokens_BT, starts_BP


def compose(
    rng: np.random.Generator,
    count: int,
    context_length: int,
    num_pairs: int,
    draw_values: Callable[[np.random.Generator, int, int], Ints] = distinct_values,
) -> Contexts:
    """Draw contexts; keys of one context differ, and pairs stand anywhere in the filler."""
    spare = context_length - 1 - num_pairs * PAIR_LENGTH
    if spare < 0 or num_pairs > MAX_PAIRS:
        raise ValueError(
            f"{num_pairs} pairs do not fit: they take {num_pairs * PAIR_LENGTH + 1} tokens of "
            f"{context_length}, and there are {MAX_PAIRS} different values"
        )
    keys_BP = rng.permuted(np.tile(np.arange(SYMBOLS), (count, 1)), axis=1)[:, :num_pairs]
    keys_BP = keys_BP + FIRST_KEY
    values_BPL = draw_values(rng, count, num_pairs)
    delimiters_BP1 = np.full((count, num_pairs, 1), DELIMITER)
    pieces_BPL = np.concatenate([keys_BP[..., None], values_BPL, delimiters_BP1], axis=2)
    tokens_BT, starts_BP = hide(rng, pieces_BPL, context_length)
    return Contexts(tokens_BT, starts_BP, keys_BP, values_BPL)


@dataclass(frozen=True)
class Examples:
    """Contexts with one question each."""

    context: Ints  # [B, T]
    question: Ints  # [B, 2], question mark and key
    answer: Ints  # [B, L]
    start: Ints  # [B], position of the asked key in the context


def _block(rng: np.random.Generator, context_length: int, num_pairs: int) -> Examples:
    contexts = compose(rng, BLOCK, context_length, num_pairs)
    rows, asked = np.arange(BLOCK), rng.integers(0, num_pairs, BLOCK)
    key = contexts.keys[rows, asked]
    question = np.stack([np.full(BLOCK, QUESTION), key], axis=1)
    values, starts = contexts.values[rows, asked], contexts.starts[rows, asked]
    return Examples(contexts.tokens, question, values, starts)


def split_index(split: Split) -> int:
    """Number of a split. Raises ValueError for an unknown one."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; choose one of {sorted(SPLITS)}")
    return SPLITS.index(split)


def stream(split: Split, count: int, context_length: int = 256, num_pairs: int = 12) -> Examples:
    """The first `count` examples of a split's fixed stream."""
    seed = (DATA_SEED, split_index(split), context_length, num_pairs)
    blocks = [_block(rng, context_length, num_pairs) for rng in generators(seed, count)]
    return leading(blocks, count)
