"""Short videos of small digits, and questions about what happens in them.

A video has six frames over one background with fragments that never change; each frame adds a
little noise. Every digit has a colour and, among those seen at the same time, a cell of its own:

- one *mover* stands in a cell and, from some frame on, in another of the same row or column;
- two *visitors* appear in different frames and are gone two frames later;
- up to two digits stand still all the time.

Questions: ``what`` digit is of a colour; ``when`` does a visitor appear, in which third of the
video; ``order``: which of the two visitors comes ``first``; ``motion``: ``towards`` which side the
mover goes. Pictures are those of :mod:`sweeps.data.mosaics`, words those of
:mod:`sweeps.data.wording`.

Shapes: B videos, F = 6 frames, K = 6 slots for digits, S = 32 frame side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sweeps.data import mosaics, wording
from sweeps.data.captions import NO_DIGIT
from sweeps.data.dialogues import Dialogues
from sweeps.data.mosaics import LATTICE, Objects
from sweeps.data.scenes import MARGIN, SPLIT_SEED, Floats, Ints, Warp, split_index
from sweeps.data.streams import BLOCK, Split, generators
from sweeps.data.wording import FIRST_COLOUR, FIRST_DIGIT, OF, Turn, token

Asked = Literal["what", "when", "order", "motion"]
Asker = Callable[[np.random.Generator, "Story"], Turn]

ASKED: Final[tuple[Asked, ...]] = get_args(Asked)
NUM_FRAMES: Final = len(wording.FRAMES)
PER_THIRD: Final = NUM_FRAMES // len(wording.THIRDS)
MOVER: Final = 0  # slot
VISITORS: Final = (1, 2)  # slots
FEWEST: Final = 3  # digits in a video
MOST: Final = 5
STAY: Final = 2  # frames that a visitor is seen
NOISE: Final = 0.02  # of each frame, standard deviation; 1 is white


@dataclass(frozen=True)
class Story:
    """What happens in one video."""

    things: list[tuple[int, int, int]]  # digit, colour and first cell, by slot
    target: int  # cell that the mover moves to
    moves_at: int  # first frame in which it stands there
    arrivals: tuple[int, int]  # frames in which the visitors appear


def draw(
    rng: np.random.Generator, split: Split, count: int, warp: Warp | None = None
) -> tuple[Floats, list[Story]]:
    """Frames [B, F, 3, S, S] of `count` videos, and what happens in them."""
    sizes = rng.integers(FEWEST, MOST + 1, count)
    objects = mosaics.scatter(rng, split, LATTICE, sizes, warp)
    stories = [_story(rng, objects.listed(row)) for row in range(count)]
    canvas = mosaics.background(rng, split, count, LATTICE, warp)
    frames = [_frame(rng, canvas, objects, stories, frame) for frame in range(NUM_FRAMES)]
    return np.stack(frames, axis=1), stories


def _story(rng: np.random.Generator, things: list[tuple[int, int, int]]) -> Story:
    cells = np.array([cell for _, _, cell in things])
    everywhere = np.arange(LATTICE**2)
    row, column = np.divmod(cells[MOVER], LATTICE)
    aligned = (everywhere // LATTICE == row) | (everywhere % LATTICE == column)
    free = aligned & ~np.isin(everywhere, cells)
    first, second = rng.permutation(NUM_FRAMES - STAY + 1)[:2]
    return Story(
        things,
        target=int(rng.choice(everywhere[free])),
        moves_at=int(rng.integers(1, NUM_FRAMES)),
        arrivals=(int(first), int(second)),
    )


def _frame(
    rng: np.random.Generator, canvas: Floats, objects: Objects, stories: list[Story], frame: int
) -> Floats:
    """One frame of every video: [B, 3, S, S]."""
    cells, visible = objects.cells.copy(), np.ones(objects.cells.shape, bool)
    moved = np.array([frame >= story.moves_at for story in stories])
    targets = np.array([story.target for story in stories])
    cells[:, MOVER] = np.where(moved, targets, cells[:, MOVER])
    arrivals = np.array([story.arrivals for story in stories])
    visible[:, VISITORS] = (arrivals <= frame) & (frame < arrivals + STAY)
    return _developed(rng, canvas.copy(), objects, cells, visible)


def _developed(
    rng: np.random.Generator,
    canvas: Floats,
    objects: Objects,
    cells_BK: Ints,
    visible_BK: NDArray[np.bool_],
) -> Floats:
    shown = replace(objects, digits=np.where(visible_BK, objects.digits, NO_DIGIT))
    mosaics.paint(canvas, shown, cells_BK)
    inner = canvas[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    inner += 2 * NOISE * rng.standard_normal(inner.shape, dtype=np.float32)  # halving halves it
    return mosaics.developed(canvas)


def _what(rng: np.random.Generator, story: Story) -> Turn:
    digit, colour, _ = story.things[rng.integers(len(story.things))]
    return (token("digit"), OF, FIRST_COLOUR + colour), FIRST_DIGIT + digit


def _when(rng: np.random.Generator, story: Story) -> Turn:
    which = int(rng.integers(len(VISITORS)))
    _, colour, _ = story.things[VISITORS[which]]
    third = wording.THIRDS[story.arrivals[which] // PER_THIRD]
    return (token("when"), OF, FIRST_COLOUR + colour), token(third)


def _order(rng: np.random.Generator, story: Story) -> Turn:
    colours = [FIRST_COLOUR + story.things[slot][1] for slot in VISITORS]
    earlier = colours[int(np.argmin(story.arrivals))]
    one, other = rng.permutation(colours)
    return (token("first"), int(one), int(other)), earlier


def _motion(rng: np.random.Generator, story: Story) -> Turn:  # noqa: ARG001 - there is one mover
    _, colour, cell = story.things[MOVER]
    down, right = np.subtract(np.divmod(story.target, LATTICE), np.divmod(cell, LATTICE))
    side = ("right" if right > 0 else "left") if right else ("down" if down > 0 else "up")
    return (token("towards"), OF, FIRST_COLOUR + colour), token(side)


ASKERS: Final[dict[Asked, Asker]] = {
    "what": _what,
    "when": _when,
    "order": _order,
    "motion": _motion,
}


def ask(rng: np.random.Generator, story: Story, count: int) -> list[Turn]:
    """`count` questions, of all sorts in turn; they may recur."""
    return [ASKERS[ASKED[at % len(ASKED)]](rng, story) for at in rng.permutation(count)]


def stream(split: Split, asked: Asked, count: int) -> Dialogues:
    """The first `count` videos of a split's fixed, undistorted stream."""
    seed = (SPLIT_SEED, 5, ASKED.index(asked), split_index(split))
    pixels, turns = [], []
    for rng in generators(seed, count):
        drawn, stories = draw(rng, split, BLOCK)
        pixels.append(drawn)
        turns += [[ASKERS[asked](rng, story)] for story in stories]
    questions, answers = wording.packed(turns[:count])
    return Dialogues(np.concatenate(pixels)[:count], wording.FRAMES, questions, answers)
