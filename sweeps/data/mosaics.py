"""Pictures of small coloured digits on a lattice of 8-px cells, each digit in a colour of its own.

A picture holds a smooth, noisy background, fragments of digits anywhere and up to six whole digits
of 7 to 8 px, no two of one colour. It is drawn at twice its size with the pieces of
:mod:`sweeps.data.scenes` and halved; scans and splits are those of that module. A cell is 2x2
patches of 4 px, so that a digit is four tokens among a picture's 64.

Shapes: B pictures, K = 6 slots for digits, L cells along a side, S = 8 L side in px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sweeps.data import scenes
from sweeps.data.captions import NO_COLOUR, NO_DIGIT
from sweeps.data.coloured_scenes import RGB, SHADE
from sweeps.data.scenes import Floats, Ints, Warp
from sweeps.data.streams import Split

CELL: Final = 8  # px
LATTICE: Final = 4  # cells along a side of one image
SIDE: Final = CELL * LATTICE  # px
SLOTS: Final = NO_COLOUR  # a digit per colour
FRAGMENTS: Final = 4  # per 16 cells


@dataclass(frozen=True)
class Objects:
    """The whole digits of each picture; slots that are not used hold `NO_DIGIT`, `NO_COLOUR`."""

    digits: Ints  # [B, K], 0 to 9
    colours: Ints  # [B, K], 0 to 5, no two equal in a picture
    cells: Ints  # [B, K], in reading order, no two equal in a picture
    ink: Floats  # [B, K, 16, 16], the drawings at twice their size, opacity in 0..1
    shades: Floats  # [B, K, 3], RGB in 0..1

    def __len__(self) -> int:
        return len(self.digits)

    def listed(self, row: int) -> list[tuple[int, int, int]]:
        """(digit, colour, cell) of one picture's digits."""
        slots = zip(self.digits[row], self.colours[row], self.cells[row], strict=True)
        return [(int(d), int(c), int(at)) for d, c, at in slots if d != NO_DIGIT]


def scatter(
    rng: np.random.Generator,
    split: Split,
    lattice: int,
    sizes_B: Ints,
    warp: Warp | None = None,
) -> Objects:
    """Draw `sizes_B` (at most six) digits for each picture, in different cells and colours."""
    count = len(sizes_B)
    images, labels = scenes.scans(split)
    chosen = rng.integers(0, len(images), (count, SLOTS))
    used = np.arange(SLOTS) < sizes_B[:, None]
    cells = rng.permuted(np.tile(np.arange(lattice**2), (count, 1)), axis=1)[:, :SLOTS]
    colours = rng.permuted(np.tile(np.arange(SLOTS), (count, 1)), axis=1)
    ink = scenes.draw(rng, images[chosen.ravel()], warp).reshape(count, SLOTS, scenes.CELL, -1)
    return Objects(
        digits=np.where(used, labels[chosen], NO_DIGIT),
        colours=np.where(used, colours, NO_COLOUR),
        cells=cells,
        ink=ink,
        shades=_shades(rng, colours),
    )


def crowd(
    rng: np.random.Generator,
    split: Split,
    lattice: int,
    count: int,
    occupied: float,
    warp: Warp | None = None,
) -> Objects:
    """Digits in a share `occupied` of all cells, in any colours: a slot per cell."""
    images, labels = scenes.scans(split)
    shape = (count, lattice**2)
    chosen, colours = rng.integers(0, len(images), shape), rng.integers(0, SLOTS, shape)
    used = rng.random(shape) < occupied
    ink = scenes.draw(rng, images[chosen.ravel()], warp)
    return Objects(
        digits=np.where(used, labels[chosen], NO_DIGIT),
        colours=np.where(used, colours, NO_COLOUR),
        cells=np.tile(np.arange(lattice**2), (count, 1)),
        ink=ink.reshape(*shape, scenes.CELL, scenes.CELL),
        shades=_shades(rng, colours),
    )


def _shades(rng: np.random.Generator, colours_BK: Ints) -> Floats:
    noise = rng.uniform(-SHADE, SHADE, (*colours_BK.shape, 3)).astype(np.float32)
    shades: Floats = np.clip(RGB[colours_BK] + noise, 0, 1)
    return shades


def background(
    rng: np.random.Generator, split: Split, count: int, lattice: int, warp: Warp | None = None
) -> Floats:
    """Canvases at twice the size, with a margin, on which fragments stand anywhere."""
    images, _ = scenes.scans(split)
    side = lattice * scenes.CELL
    canvas = scenes.blank(rng, count, side)
    for _ in range(FRAGMENTS * lattice**2 // LATTICE**2):
        ink = scenes.draw(rng, images[rng.integers(0, len(images), count)], warp)
        piece, centre = scenes.fragment(rng, ink)
        shade = RGB[rng.integers(0, SLOTS, count)]
        corners = rng.integers(0, side, (count, 2)) - centre
        scenes.blend(canvas, piece, corners, shade)
    return canvas


def paint(canvas: Floats, objects: Objects, cells_BK: Ints) -> None:
    """Draw the digits into the given cells of a canvas at twice the size."""
    lattice = canvas.shape[1] // scenes.CELL - 2
    picture, slot = np.nonzero(objects.digits != NO_DIGIT)
    cells = cells_BK[picture, slot]
    corners = np.stack([cells // lattice, cells % lattice], axis=1) * scenes.CELL
    ink, shades = objects.ink[picture, slot], objects.shades[picture, slot]
    scenes.blend(canvas, ink, corners, shades, picture)


def developed(canvas: Floats) -> Floats:
    """The canvas at half its size, without margin, normalised: [B, 3, S, S]."""
    return halved(scenes.normalised(canvas))


def halved(pixels_BCSS: Floats) -> Floats:
    """The same images at half their size."""
    even, odd = slice(0, None, 2), slice(1, None, 2)
    corners = [pixels_BCSS[..., y, x] for y in (even, odd) for x in (even, odd)]
    small: Floats = sum(corners[1:], start=corners[0]) / np.float32(4)
    return small


def pictures(
    rng: np.random.Generator, split: Split, objects: Objects, lattice: int, warp: Warp | None = None
) -> Floats:
    """The pictures of these digits: [B, 3, S, S]."""
    canvas = background(rng, split, len(objects), lattice, warp)
    paint(canvas, objects, objects.cells)
    return developed(canvas)


def tiles(pixels_BCSS: Floats) -> Floats:
    """A thumbnail and the 2x2 crops of pictures twice the size of an image: [B, 5, 3, 32, 32]."""
    crops = pixels_BCSS.reshape(-1, 3, 2, SIDE, 2, SIDE).transpose(0, 2, 4, 1, 3, 5)
    thumbnail = halved(pixels_BCSS)[:, None]
    return np.concatenate([thumbnail, crops.reshape(-1, 4, 3, SIDE, SIDE)], axis=1)


def labels_of(objects: Objects, lattice: int) -> tuple[Ints, Ints]:
    """Digit and colour of every cell: [B, L * L] each."""
    rows = np.arange(len(objects))[:, None]
    digits = np.full((len(objects), lattice**2), NO_DIGIT)
    colours = np.full((len(objects), lattice**2), NO_COLOUR)
    digits[rows, objects.cells] = objects.digits
    colours[rows, objects.cells] = objects.colours
    return digits, colours
