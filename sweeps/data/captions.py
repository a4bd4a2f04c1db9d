"""Captions of coloured digits: a vocabulary of 26 words, no tokenizer needed.

A caption names the digits of a scene in reading order, each by its colour, its value and its place:
`red three top left , blue seven middle centre`. Written as token ids it begins with a start token,
ends with an end token and is padded on the right; a word is a token.

Shapes: B scenes, C = 9 cells, T caption tokens.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

COLOURS: Final = ("red", "green", "blue", "yellow", "magenta", "cyan")
DIGITS: Final = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
)
ROWS: Final = ("top", "middle", "bottom")
COLUMNS: Final = ("left", "centre", "right")
SPECIAL: Final = ("<pad>", "<start>", ",", "<end>")
WORDS: Final = (*SPECIAL, *COLOURS, *DIGITS, *ROWS, *COLUMNS)
VOCABULARY: Final = len(WORDS)
PADDING, START, COMMA, END = range(len(SPECIAL))
MAX_OBJECTS: Final = 3
OBJECT_LENGTH: Final = 4  # colour, digit, row, column
LENGTH: Final = 1 + MAX_OBJECTS * (OBJECT_LENGTH + 1)  # commas between, start and end
NO_DIGIT: Final = len(DIGITS)  # content of an empty cell
NO_COLOUR: Final = len(COLOURS)

_IDS: Final = {word: index for index, word in enumerate(WORDS)}


def tokens_of(digits_BC: Ints, colours_BC: Ints) -> Ints:
    """Captions of scenes given by the digit and the colour of every cell: [B, T]."""
    captions = np.full((len(digits_BC), LENGTH), PADDING)
    for row, (digits, colours) in enumerate(zip(digits_BC, colours_BC, strict=True)):
        words = [
            f"{COLOURS[colours[cell]]} {DIGITS[digits[cell]]} "
            f"{ROWS[cell // len(COLUMNS)]} {COLUMNS[cell % len(COLUMNS)]}"
            for cell in np.flatnonzero(digits != NO_DIGIT)
        ]
        captions[row] = encode(" , ".join(words))
    return captions


def encode(caption: str) -> Ints:
    """Token ids [T] of a caption. Raises ValueError for unknown words and for too many."""
    words = caption.replace(",", " , ").split()
    unknown = sorted({word for word in words if word not in WORDS[len(SPECIAL) :] and word != ","})
    if unknown:
        raise ValueError(f"unknown word {unknown[0]!r}; captions know {', '.join(WORDS[4:])}")
    if not 0 < len(words) <= LENGTH - 2:
        raise ValueError(f"a caption has 1 to {LENGTH - 2} words; got {len(words)}")
    tokens = np.full(LENGTH, PADDING)
    tokens[: len(words) + 2] = [START, *(_IDS[word] for word in words), END]
    return tokens


def decode(tokens_T: Ints) -> str:
    """The words of a caption without its start, end and padding."""
    hidden = {PADDING, START, END}
    return " ".join(WORDS[token] for token in tokens_T if token not in hidden)
