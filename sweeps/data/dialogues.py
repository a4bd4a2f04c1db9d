"""Questions about pictures of small digits: one picture, several, or one in crops, in two turns.

Kinds of dialogue, and what is asked in them:

- ``single``: which digit is of a colour, which colour a digit has, how many digits there are,
  whether there is a certain one;
- ``detail``: which digit stands in a certain cell;
- ``two-turn``: two different questions of these sorts, how many excepted;
- ``several``: which of four pictures holds a certain digit or a digit of a certain colour;
- ``anyres``: a picture of 8x8 cells, shown as a thumbnail, in which a digit is about one token, and
  2x2 crops: what ``two-turn`` asks, cells excepted, and in which crop the digit of a colour is.

Pictures are those of :mod:`sweeps.data.mosaics`, words those of :mod:`sweeps.data.wording`.

Shapes: B dialogues, I images, S = 32 image side, Q turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from sweeps.data import mosaics, wording
from sweeps.data.captions import NO_DIGIT
from sweeps.data.mosaics import LATTICE, SLOTS
from sweeps.data.scenes import SPLIT_SEED, Floats, Ints, Warp, split_index
from sweeps.data.streams import BLOCK, Split, generators
from sweeps.data.wording import ALL, FIRST_COLOUR, FIRST_DIGIT, OF, Turn, token

Kind = Literal["single", "detail", "two-turn", "several", "anyres"]
Seen = list[tuple[int, int, int]]  # digit, colour and cell of everything in a picture
Asker = Callable[[np.random.Generator, list[Seen]], Turn | None]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
FEWEST: Final = 2  # digits in a picture
HOPELESS: Final = 64  # draws without a question
NAMES: Final[dict[Kind, tuple[str, ...]]] = {
    "single": ("picture",),
    "detail": ("picture",),
    "two-turn": ("picture",),
    "several": wording.PICTURES,
    "anyres": (wording.THUMBNAIL, *wording.CROPS),
}
TURNS: Final[dict[Kind, int]] = {kind: 2 if kind == "two-turn" else 1 for kind in KINDS}


@dataclass(frozen=True)
class Dialogues:
    """Images, and questions about them in the order in which they are asked."""

    pixels: Floats  # [B, I, 3, S, S], normalised
    names: tuple[str, ...]  # of the images, in a prompt; the same for all
    questions: Ints  # [B, Q, 3]
    answers: Ints  # [B, Q]

    def __len__(self) -> int:
        return len(self.answers)


def _digit_of_colour(rng: np.random.Generator, images: list[Seen]) -> Turn | None:
    (seen,) = images
    digit, colour, _ = seen[rng.integers(len(seen))]
    return (token("digit"), OF, FIRST_COLOUR + colour), FIRST_DIGIT + digit


def _colour_of_digit(rng: np.random.Generator, images: list[Seen]) -> Turn | None:
    (seen,) = images
    times = Counter(digit for digit, _, _ in seen)
    unique = [(digit, colour) for digit, colour, _ in seen if times[digit] == 1]
    if not unique:
        return None
    digit, colour = unique[rng.integers(len(unique))]
    return (token("colour"), OF, FIRST_DIGIT + digit), FIRST_COLOUR + colour


def _how_many(rng: np.random.Generator, images: list[Seen]) -> Turn | None:  # noqa: ARG001
    (seen,) = images
    return (token("count"), OF, ALL), FIRST_DIGIT + len(seen)


def _is_there(rng: np.random.Generator, images: list[Seen]) -> Turn | None:
    (seen,) = images
    there = {digit for digit, _, _ in seen}
    digit = int(rng.choice(sorted(there)))
    if rng.random() < 0.5:
        digit = int(rng.choice(sorted(set(range(NO_DIGIT)) - there)))
    answer = wording.YES if digit in there else wording.NO
    return (token("any"), OF, FIRST_DIGIT + digit), answer


def _in_a_cell(rng: np.random.Generator, images: list[Seen]) -> Turn | None:
    (seen,) = images
    digit, _, cell = seen[rng.integers(len(seen))]
    return _at(cell, FIRST_DIGIT + digit)


def in_any_cell(rng: np.random.Generator, images: list[Seen]) -> Turn | None:
    """What stands in a cell, which may be empty."""
    (seen,) = images
    cell = int(rng.integers(LATTICE**2))
    digit = {at: FIRST_DIGIT + digit for digit, _, at in seen}.get(cell, wording.NOTHING)
    return _at(cell, digit)


def _at(cell: int, answer: int) -> Turn:
    return (token("at"), OF, token(wording.CELLS[cell])), answer


def _which_picture(rng: np.random.Generator, images: list[Seen]) -> Turn | None:
    """By a digit or a colour that only one of the pictures holds."""
    held = [
        {FIRST_DIGIT + digit for digit, _, _ in seen}
        | {FIRST_COLOUR + colour for _, colour, _ in seen}
        for seen in images
    ]
    times = Counter(word for words in held for word in words)
    places = [(word, at) for at, words in enumerate(held) for word in sorted(words)]
    unique = [(word, at) for word, at in places if times[word] == 1]
    if not unique:
        return None
    word, at = unique[rng.integers(len(unique))]
    return (token("which"), OF, word), token(wording.PICTURES[at])


def _which_crop(rng: np.random.Generator, images: list[Seen]) -> Turn | None:
    (seen,) = images
    _, colour, cell = seen[rng.integers(len(seen))]
    row, column = np.divmod(cell, 2 * LATTICE)
    crop = wording.CROPS[2 * (row // LATTICE) + column // LATTICE]
    return (token("which"), OF, FIRST_COLOUR + colour), token(crop)


ASKERS: Final[dict[Kind, tuple[Asker, ...]]] = {
    "single": (_digit_of_colour, _colour_of_digit, _how_many, _is_there),
    "detail": (_in_a_cell,),
    "two-turn": (_digit_of_colour, _colour_of_digit, _is_there, _in_a_cell),
    "several": (_which_picture,),
    "anyres": (_digit_of_colour, _colour_of_digit, _is_there, _which_crop),
}


def ask(
    rng: np.random.Generator, askers: Sequence[Asker], images: list[Seen], count: int
) -> list[Turn]:
    """`count` different questions, or as many as there are among 8 * `count` drawn, then again.

    None at all where `HOPELESS` draws found nothing to ask, as of four pictures that are the same.
    """
    turns: list[Turn] = []
    tries = 0
    while len(turns) < count and (turns or tries < HOPELESS):
        turn = askers[int(rng.integers(len(askers)))](rng, images)
        tries += 1
        if turn is not None and (turn not in turns or tries > 8 * count):
            turns.append(turn)
    return turns


def draw(
    rng: np.random.Generator, split: Split, kind: Kind, count: int, warp: Warp | None = None
) -> tuple[Floats, list[list[Seen]]]:
    """Images [B, I, 3, S, S] of `count` dialogues, and what is in each picture shown."""
    lattice = 2 * LATTICE if kind == "anyres" else LATTICE
    shown = len(wording.PICTURES) if kind == "several" else 1
    fewest, most = (1, 3) if kind == "several" else (FEWEST, SLOTS)
    sizes = rng.integers(fewest, most + 1, count * shown)
    objects = mosaics.scatter(rng, split, lattice, sizes, warp)
    pixels = mosaics.pictures(rng, split, objects, lattice, warp)
    seen = [objects.listed(row) for row in range(count * shown)]
    grouped = [seen[first : first + shown] for first in range(0, count * shown, shown)]
    if kind == "anyres":
        return mosaics.tiles(pixels), grouped
    return pixels.reshape(count, shown, *pixels.shape[1:]), grouped


def stream(split: Split, kind: Kind, count: int) -> Dialogues:
    """The first `count` dialogues of a split's fixed, undistorted stream."""
    seed = (SPLIT_SEED, 4, KINDS.index(kind), split_index(split))
    pixels, turns = [], []
    for rng in generators(seed, count):
        drawn, seen = draw(rng, split, kind, BLOCK)
        pixels.append(drawn)
        turns += [ask(rng, ASKERS[kind], images, TURNS[kind]) for images in seen]
    questions, answers = wording.packed(turns[:count])
    return Dialogues(
        pixels=np.concatenate(pixels)[:count],
        names=NAMES[kind],
        questions=questions,
        answers=answers,
    )
