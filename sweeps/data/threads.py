"""Contexts of Markov filler in which threads are hidden: chains of keys, each naming the next.

A thread of H hops is H + 1 keys. It stands in the context as H links, apart and in any order: a
link is a key, the next key of its thread and a delimiter. No key of a context is in two threads.
A question names some threads by their first keys and asks for all of them::

    question   ?1 a ; ?2 b ; ? ?1
    answer     a a' a'' ; ?2 b b' b''

that is, a link from an ordinal to a key for each needle, a question mark and the first ordinal. The
answer spells every thread out. Each of its tokens then depends on the one before by one look-up,
which a small network can learn; but no look-up beyond the first can be told from the question
alone, so that a cache compressed with the question in sight may still have lost the second hop.

Vocabulary: the 196 tokens of :mod:`sweeps.data.contexts`; of its 128 tokens for keys and values,
the first 120 are keys here and the last 8 ordinals. A network that knows how to look up any of
these knows how to look up all.

Shapes: B examples, T context length, P threads, H hops, K = H + 1 keys of a thread, L links, N
needles, Q = 3 N + 2 question tokens, A = N (H + 3) - 2 answer tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sweeps.data import contexts
from sweeps.data.contexts import DATA_SEED, DELIMITER, FIRST_FILLER, FIRST_KEY, Ints
from sweeps.data.streams import BLOCK, Split, generators, leading

MAX_NEEDLES: Final = 8
FIRST_ORDINAL: Final = FIRST_FILLER - MAX_NEEDLES
KEYS: Final = FIRST_ORDINAL - FIRST_KEY
LINK_LENGTH: Final = 3  # key, next key, delimiter
STREAM: Final = 1  # keeps the generators apart from those of `contexts`


@dataclass(frozen=True)
class Threads:
    """Contexts and what is hidden in them."""

    tokens: Ints  # [B, T]
    keys: Ints  # [B, P, K], key tokens of every thread, in its order
    starts: Ints  # [B, P, H], positions of its links' first tokens, in its order


@dataclass(frozen=True)
class Examples:
    """Contexts with one question each."""

    context: Ints  # [B, T]
    question: Ints  # [B, Q]
    answer: Ints  # [B, A]
    starts: Ints  # [B, N, H], positions in the context of the links asked for


def question_length(needles: int) -> int:
    """Tokens of a question for so many threads."""
    return LINK_LENGTH * needles + 2


def answer_length(needles: int, hops: int) -> int:
    """Tokens of an answer, from the first key to the last."""
    return needles * (hops + 3) - 2


def tokens_needed(num_threads: int, hops: int) -> int:
    """The shortest context that holds so many threads."""
    return 1 + num_threads * hops * LINK_LENGTH


def check(context_length: int, num_threads: int, hops: int, needles: int) -> None:
    """Raise ValueError where such contexts or questions do not exist."""
    needed, keys = tokens_needed(num_threads, hops), num_threads * (hops + 1)
    if needed > context_length:
        raise ValueError(
            f"{num_threads} threads of {hops} hops need {needed} tokens; context_length is "
            f"{context_length}"
        )
    if keys > KEYS:
        raise ValueError(
            f"{num_threads} threads of {hops} hops need {keys} different keys; there are {KEYS}"
        )
    if needles > min(num_threads, MAX_NEEDLES):
        raise ValueError(
            f"needles {needles} is more than the {min(num_threads, MAX_NEEDLES)} threads that a "
            "question can name"
        )


def is_question(tokens: list[int]) -> bool:
    """Whether :func:`ask` could have made a question of these tokens."""
    *named, mark, first = tokens
    ordinals = range(FIRST_ORDINAL, FIRST_ORDINAL + len(named) // LINK_LENGTH)
    return (
        [mark, first] == [contexts.QUESTION, FIRST_ORDINAL]
        and named[::LINK_LENGTH] == list(ordinals)
        and all(FIRST_KEY <= key < FIRST_ORDINAL for key in named[1::LINK_LENGTH])
        and all(token == DELIMITER for token in named[2::LINK_LENGTH])
    )


def compose(
    rng: np.random.Generator, count: int, context_length: int, num_threads: int, hops: int
) -> Threads:
    """Draw contexts; links stand anywhere in the filler, in any order."""
    check(context_length, num_threads, hops, needles=1)
    chosen = rng.permuted(np.tile(np.arange(KEYS), (count, 1)), axis=1)
    keys_BPK = chosen[:, : num_threads * (hops + 1)].reshape(count, num_threads, hops + 1)
    keys_BPK = keys_BPK + FIRST_KEY
    num_links = num_threads * hops
    order_BL = rng.permuted(np.tile(np.arange(num_links), (count, 1)), axis=1)
    rows = np.arange(count)[:, None]
    links_BL3 = _links(keys_BPK).reshape(count, num_links, LINK_LENGTH)[rows, order_BL]
    tokens_BT, positions_BL = contexts.hide(rng, links_BL3, context_length)
    starts_BL = np.empty_like(positions_BL)
    starts_BL[rows, order_BL] = positions_BL
    return Threads(tokens_BT, keys_BPK, starts_BL.reshape(count, num_threads, hops))


def _links(keys_BPK: Ints) -> Ints:
    """All links of all threads: [B, P, H, 3]."""
    ends = np.full(keys_BPK[..., 1:].shape, DELIMITER)
    return np.stack([keys_BPK[..., :-1], keys_BPK[..., 1:], ends], axis=-1)


def ask(keys_BNK: Ints) -> tuple[Ints, Ints]:
    """Question [B, Q] and answer [B, A] for threads in the order in which they are asked for."""
    count, needles, _ = keys_BNK.shape
    ordinals_BN1 = np.broadcast_to(FIRST_ORDINAL + np.arange(needles)[:, None], (count, needles, 1))
    ends_BN1 = np.full((count, needles, 1), DELIMITER)
    named_BN3 = np.concatenate([ordinals_BN1, keys_BNK[..., :1], ends_BN1], axis=2)
    mark_B1 = np.full((count, 1), contexts.QUESTION)
    question_BQ = np.concatenate(
        [named_BN3.reshape(count, -1), mark_B1, ordinals_BN1[:, 0]], axis=1
    )
    spelt = np.concatenate([ordinals_BN1, keys_BNK, ends_BN1], axis=2).reshape(count, -1)
    return question_BQ, spelt[:, 1:-1]


def _block(
    rng: np.random.Generator, context_length: int, num_threads: int, hops: int, needles: int
) -> Examples:
    drawn = compose(rng, BLOCK, context_length, num_threads, hops)
    order = rng.permuted(np.tile(np.arange(num_threads), (BLOCK, 1)), axis=1)[:, :needles]
    rows = np.arange(BLOCK)[:, None]
    question, answer = ask(drawn.keys[rows, order])
    return Examples(drawn.tokens, question, answer, drawn.starts[rows, order])


def stream(
    split: Split,
    count: int,
    context_length: int = 256,
    num_threads: int = 8,
    hops: int = 2,
    needles: int = 1,
) -> Examples:
    """The first `count` examples of a split's fixed stream."""
    check(context_length, num_threads, hops, needles)
    knobs = (context_length, num_threads, hops, needles)
    seed = (DATA_SEED, STREAM, contexts.split_index(split), *knobs)
    return leading([_block(rng, *knobs) for rng in generators(seed, count)], count)
