"""The words of questions about pictures and videos, and prompts in which images stand.

A question is three tokens and its answer is one: ``digit of red`` is answered ``seven``. What is
asked about comes last, for an answer is read off there. In a prompt every image takes as many
placeholders as it has visual tokens, behind a word that names it where there are several. A word is
a token, so that no tokenizer is needed.

Shapes: T prompt tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from sweeps.data.captions import COLOURS, DIGITS
from sweeps.data.scenes import Ints

Turn = tuple[tuple[int, int, int], int]
"""A question and its answer."""

PICTURES: Final = ("A", "B", "C", "D")
THUMBNAIL: Final = "thumbnail"
CROPS: Final = ("top-left", "top-right", "bottom-left", "bottom-right")
FRAMES: Final = ("frame-1", "frame-2", "frame-3", "frame-4", "frame-5", "frame-6")
THIRDS: Final = ("early", "midway", "late")
CELLS: Final = tuple(f"row-{row}-column-{column}" for row in range(1, 5) for column in range(1, 5))
ASKED: Final = ("digit", "colour", "count", "any", "at", "which", "when", "first", "towards")
WORDS: Final = (
    *("<pad>", "<start>", "<image>", "<end>", "of"),
    *("yes", "no", "nothing", "all"),
    *ASKED,
    *DIGITS,
    *COLOURS,
    *CELLS,
    *PICTURES,
    *(THUMBNAIL, *CROPS),
    *FRAMES,
    *THIRDS,
    *("left", "right", "up", "down"),
)
VOCABULARY: Final = len(WORDS)
PADDING, START, IMAGE, END, OF, YES, NO, NOTHING, ALL = range(9)
QUESTION_LENGTH: Final = 3
FIRST_DIGIT: Final = WORDS.index(DIGITS[0])
FIRST_COLOUR: Final = WORDS.index(COLOURS[0])

_IDS: Final = {word: index for index, word in enumerate(WORDS)}


def token(word: str) -> int:
    """The id of a word. Raises ValueError if it is unknown."""
    if word not in _IDS:
        raise ValueError(f"unknown word {word!r}; questions know {', '.join(WORDS[OF:])}")
    return _IDS[word]


def words(tokens: Sequence[int]) -> str:
    """The tokens as words with spaces between."""
    return " ".join(WORDS[index] for index in tokens)


def prompt(names: Sequence[str], per_image: int) -> Ints:
    """A start token, then each image's name and placeholders: [T]. A lone image has no name."""
    tokens = [START]
    for name in names:
        tokens += ([token(name)] if len(names) > 1 else []) + [IMAGE] * per_image
    return np.array(tokens)


def packed(turns: list[list[Turn]]) -> tuple[Ints, Ints]:
    """Questions [B, Q, 3] and answers [B, Q]."""
    questions = np.array([[question for question, _ in asked] for asked in turns])
    return questions, np.array([[answer for _, answer in asked] for asked in turns])
