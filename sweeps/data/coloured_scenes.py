"""Scenes of coloured digits with captions, singly and in galleries of look-alikes.

A 48x48 RGB scene holds a smooth, noisy background, four fragments of digits and one to three whole
digits, each in a cell of a 3x3 lattice and in one of six colours; fragments have such colours as
well. A caption (:mod:`sweeps.data.captions`) names colour, value and place of every whole digit.

The scenes of a *near* gallery have their digits in the same three cells, and each digit is one of
two values in one of two colours, so that a caption differs from its nearest neighbours in one
word: to find the right one, a reader must have got all three digits and all three colours. In a
*far* gallery scenes are drawn independently, and any one detail tells most of them apart.

Scans and splits are those of :mod:`sweeps.data.scenes`.

Shapes: B scenes, S = 48 scene side, C = 9 cells, A cells that may be used, K digits of a scene,
M digits of all scenes, T caption tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final, Literal

import numpy as np

from sweeps.data import captions, scenes
from sweeps.data.captions import COLOURS, DIGITS, NO_COLOUR, NO_DIGIT
from sweeps.data.scenes import LATTICE, SIDE, SPLIT_SEED, Floats, Ints, Warp
from sweeps.data.streams import BLOCK, Split, generators, leading

Likeness = Literal["near", "far"]

CELLS: Final = LATTICE**2
FRAGMENTS: Final = 4  # per scene
OPTIONS: Final = 2  # values, and colours, that one digit of a near gallery may have
MAX_NEAR: Final = (OPTIONS * OPTIONS) ** captions.MAX_OBJECTS  # different scenes of a near gallery
RGB: Final = np.array(
    [
        [0.95, 0.15, 0.15],
        [0.15, 0.9, 0.15],
        [0.25, 0.35, 1.0],
        [0.95, 0.9, 0.1],
        [0.95, 0.2, 0.9],
        [0.1, 0.9, 0.95],
    ],
    np.float32,
)
"""Of the colours, in the order of their names."""
SHADE: Final = 0.08  # half-width of the uniform noise on each channel of a drawn colour


@dataclass(frozen=True)
class Content:
    """What stands in every cell of each scene."""

    digits: Ints  # [B, C], 0 to 9; 10 where the cell is empty
    colours: Ints  # [B, C], 0 to 5; 6 where the cell is empty

    def __len__(self) -> int:
        return len(self.digits)

    def captions(self) -> Ints:
        """Token ids [B, T]."""
        return captions.tokens_of(self.digits, self.colours)


@dataclass(frozen=True)
class Captioned:
    """Scenes with their contents."""

    pixels: Floats  # [B, 3, S, S], normalised to about zero mean and unit variance
    content: Content


def joined(first: Content, second: Content) -> Content:
    """The scenes of both."""
    return Content(
        np.concatenate([first.digits, second.digits]),
        np.concatenate([first.colours, second.colours]),
    )


def _placed(cells_BK: Ints, digits_BK: Ints, colours_BK: Ints) -> Content:
    rows = np.arange(len(cells_BK))[:, None]
    digits = np.full((len(cells_BK), CELLS), NO_DIGIT)
    colours = np.full((len(cells_BK), CELLS), NO_COLOUR)
    digits[rows, cells_BK], colours[rows, cells_BK] = digits_BK, colours_BK
    return Content(digits, colours)


def far(rng: np.random.Generator, cells_BA: Ints, num_objects: int) -> Content:
    """Independent scenes; each row of `cells_BA` lists the cells that its scene may use."""
    shape = (len(cells_BA), num_objects)
    cells = rng.permuted(cells_BA, axis=1)[:, :num_objects]
    return _placed(cells, rng.integers(0, len(DIGITS), shape), rng.integers(0, len(COLOURS), shape))


def near(rng: np.random.Generator, count: int, cells_A: Ints) -> Content:
    """A gallery of at most 64 different scenes that differ in few words."""
    num_objects = captions.MAX_OBJECTS
    cells = rng.permutation(cells_A)[:num_objects]
    digits = np.stack([rng.permutation(len(DIGITS))[:OPTIONS] for _ in range(num_objects)])
    colours = np.stack([rng.permutation(len(COLOURS))[:OPTIONS] for _ in range(num_objects)])
    choices = np.array(list(product(range(OPTIONS * OPTIONS), repeat=num_objects)))
    chosen_BK = rng.permutation(choices)[:count]
    slots = np.arange(num_objects)
    return _placed(
        np.tile(cells, (count, 1)),
        digits[slots, chosen_BK // OPTIONS],
        colours[slots, chosen_BK % OPTIONS],
    )


def render(
    rng: np.random.Generator, split: Split, content: Content, warp: Warp | None = None
) -> Captioned:
    """Draw each content once, with scans of `split`."""
    canvas = scenes.blank(rng, len(content))
    for _ in range(FRAGMENTS):
        _paste_fragments(rng, split, canvas, warp)
    images, _ = scenes.scans(split)
    scene_M, cell_M = np.nonzero(content.digits != NO_DIGIT)
    ink = scenes.draw(rng, images[_scans_of(rng, split, content.digits[scene_M, cell_M])], warp)
    shade = _shades(rng, content.colours[scene_M, cell_M])
    scenes.blend(canvas, ink, scenes.corner_of(cell_M), shade, scene_M)
    return Captioned(scenes.normalised(canvas), content)


def _paste_fragments(
    rng: np.random.Generator, split: Split, canvas: Floats, warp: Warp | None
) -> None:
    """One fragment into every canvas, anywhere and in any of the colours."""
    images, _ = scenes.scans(split)
    ink, centre = scenes.fragment(
        rng, scenes.draw(rng, images[rng.integers(0, len(images), len(canvas))], warp)
    )
    shade = _shades(rng, rng.integers(0, len(COLOURS), len(canvas)))
    scenes.blend(canvas, ink, rng.integers(0, SIDE, (len(canvas), 2)) - centre, shade)


def _shades(rng: np.random.Generator, colours_B: Ints) -> Floats:
    noise = rng.uniform(-SHADE, SHADE, (len(colours_B), 3)).astype(np.float32)
    shades_B3: Floats = np.clip(RGB[colours_B] + noise, 0, 1)
    return shades_B3


def _scans_of(rng: np.random.Generator, split: Split, digits_B: Ints) -> Ints:
    """A random scan of each digit."""
    order, starts, sizes = _by_digit(split)
    chosen_B: Ints = order[starts[digits_B] + rng.integers(0, sizes[digits_B])]
    return chosen_B


@lru_cache(maxsize=3)
def _by_digit(split: Split) -> tuple[Ints, Ints, Ints]:
    _, labels = scenes.scans(split)
    sizes = np.bincount(labels, minlength=len(DIGITS))
    return np.argsort(labels, kind="stable"), np.cumsum(sizes) - sizes, sizes


def gallery(split: Split, likeness: Likeness, count: int, number: int) -> Captioned:
    """One gallery of `count` scenes of a split's fixed stream, undistorted."""
    order, kind = scenes.split_index(split), ("near", "far").index(likeness)
    rng = np.random.default_rng((SPLIT_SEED, 1, order, kind, count, number))
    if likeness == "near":
        return render(rng, split, near(rng, count, np.arange(CELLS)))
    everywhere = np.tile(np.arange(CELLS), (count, 1))
    return render(rng, split, far(rng, everywhere, captions.MAX_OBJECTS))


def singles(split: Split, count: int) -> Captioned:
    """The first `count` scenes with one digit each of a split's fixed stream, undistorted."""
    everywhere = np.tile(np.arange(CELLS), (BLOCK, 1))
    seed = (SPLIT_SEED, 2, scenes.split_index(split))
    blocks = [render(rng, split, far(rng, everywhere, 1)) for rng in generators(seed, count)]
    pixels = np.concatenate([block.pixels for block in blocks])[:count]
    return Captioned(pixels, leading([block.content for block in blocks], count))
