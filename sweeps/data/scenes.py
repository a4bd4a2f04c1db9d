"""Scenes of one whole handwritten digit among fragments of others.

A 48x48 RGB scene holds a smooth, noisy, coloured background, six fragments of digits and one whole
digit of 14 to 16 px. The digit stands in one of the nine 16-px cells of a 3x3 lattice, drawn
uniformly; fragments are centred in the other eight cells and may reach into its edge.

Source of the digits: scikit-learn's copy of the UCI "Optical Recognition of Handwritten Digits"
test set (1,797 scans of 8x8, https://archive.ics.uci.edu/dataset/80, CC BY 4.0), split by sample.
The source does not name writers, so a writer may be on both sides of a split.

Shapes: B scenes, N scans or drawings, S = 48 scene side, P = 16 cell side, K pixels of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweeps.data.streams import BLOCK, Split, generators, leading

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SIDE: Final = 48  # px
CELL: Final = 16  # px
LATTICE: Final = SIDE // CELL  # cells along a side
CLASSES: Final = 10
SIZES: Final = (14, 15, 16)  # px, side of a drawn digit
FRAGMENTS: Final = 6  # per scene
FRAGMENT_SIDES: Final = (5, 6, 7, 8)  # px
MARGIN: Final = CELL  # px around the canvas, so that nothing is pasted out of bounds
SCAN: Final = 8  # px, side of a scan
SPLIT_SEED: Final = 20240607
SPLIT_SIZES: Final[dict[Split, int]] = {"train": 1297, "validation": 200, "test": 300}
PIXEL_MEAN: Final = 0.4
PIXEL_STD: Final = 0.35


@dataclass(frozen=True)
class Warp:
    """Half-widths of the uniform distortions of a drawn digit; all zero means none.

    Used in training only: ~1,300 scans are few.
    """

    rotation: float = 0.0  # radians
    log_scale: float = 0.0  # per axis
    shear: float = 0.0
    shift: float = 0.0  # scan pixels
    ink: float = 0.0  # log of the exponent applied to the ink's opacity


@dataclass(frozen=True)
class Scenes:
    """Scenes with one whole digit each."""

    pixels: Floats  # [B, 3, S, S], normalised to about zero mean and unit variance
    labels: Ints  # [B], 0 to 9
    cells: Ints  # [B], 0 to 8 in reading order: where the digit stands


@lru_cache(maxsize=1)
def _all_scans() -> tuple[Floats, Ints]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.target))
    return (digits.images[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)


def scans(split: Split) -> tuple[Floats, Ints]:
    """The split's scans: opacity of the ink [N, 8, 8] in 0..1, labels [N]."""
    images, labels = _all_scans()
    start = 0
    for name, size in SPLIT_SIZES.items():
        if name == split:
            return images[start : start + size], labels[start : start + size]
        start += size
    raise ValueError(f"no split {split!r}; choose one of {sorted(SPLIT_SIZES)}")


def split_index(split: Split) -> int:
    """Number of a split in seeds: by name, unlike that of :mod:`sweeps.data.contexts`."""
    return sorted(SPLIT_SIZES).index(split)


def draw(rng: np.random.Generator, scans_N88: Floats, warp: Warp | None = None) -> Floats:
    """Draw each scan with a random size and place inside a cell: opacity [N, P, P] in 0..1."""
    count = len(scans_N88)
    size_N = rng.choice(SIZES, size=count)
    corner_N2 = rng.integers(0, CELL - size_N[:, None] + 1, (count, 2))
    centre_N2 = corner_N2 + size_N[:, None] / 2
    matrix_N22 = np.zeros((count, 2, 2)) + np.eye(2)
    shift_N2 = np.zeros((count, 2))
    if warp is not None:
        matrix_N22, shift_N2 = _distortions(rng, count, warp)
    pixels = np.stack(np.meshgrid(*[np.arange(CELL) + 0.5] * 2, indexing="ij"), -1).reshape(-1, 2)
    offset_NK2 = (pixels - centre_N2[:, None]) * (SCAN / size_N)[:, None, None]
    source_NK2 = offset_NK2 @ matrix_N22 + (SCAN - 1) / 2 + shift_N2[:, None]
    ink_NPP = _bilinear(scans_N88, source_NK2).reshape(count, CELL, CELL)
    if warp is not None and warp.ink:
        ink_NPP **= np.exp(rng.uniform(-warp.ink, warp.ink, (count, 1, 1))).astype(np.float32)
    return ink_NPP


def _distortions(
    rng: np.random.Generator, count: int, warp: Warp
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random linear maps [N, 2, 2] from drawn to scanned pixels, and shifts [N, 2]."""
    angle = rng.uniform(-warp.rotation, warp.rotation, count)
    scale = np.exp(rng.uniform(-warp.log_scale, warp.log_scale, (count, 2)))
    shear = rng.uniform(-warp.shear, warp.shear, count)
    one, zero = np.ones(count), np.zeros(count)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    lean = np.array([[one, shear], [zero, one]])
    matrix = (turn.transpose(2, 0, 1) @ lean.transpose(2, 0, 1)) * scale[:, None]
    return matrix, rng.uniform(-warp.shift, warp.shift, (count, 2))


def _bilinear(images_N88: Floats, source_NK2: NDArray[np.float64]) -> Floats:
    """Sample at (row, column) positions, blank outside the scan: [N, K]."""
    padded = np.pad(images_N88, ((0, 0), (1, 2), (1, 2)))
    source = np.clip(source_NK2 + 1, 0, SCAN + 1)
    low = np.floor(source).astype(np.int64)
    weight = (source - low).astype(np.float32)
    rows, columns = low[..., 0], low[..., 1]
    down, right = weight[..., 0], weight[..., 1]
    index = np.arange(len(images_N88))[:, None]
    upper = _mix(padded[index, rows, columns], padded[index, rows, columns + 1], right)
    lower = _mix(padded[index, rows + 1, columns], padded[index, rows + 1, columns + 1], right)
    return _mix(upper, lower, down)


def _mix(first: Floats, second: Floats, weight: Floats) -> Floats:
    """From `first` at weight 0 to `second` at weight 1."""
    mixed: Floats = first * (np.float32(1) - weight) + second * weight
    return mixed


def blank(rng: np.random.Generator, count: int, side: int = SIDE) -> Floats:
    """Backgrounds of `side` px with a margin all round: [B, side + 2 * margin, ..., 3]."""
    knots = rng.random((count, 5, 5, 3), dtype=np.float32)
    place = np.linspace(0, 4, side, dtype=np.float32)
    low = np.minimum(place.astype(np.int64), 3)
    weight = place - low
    mix = np.zeros((side, 5), dtype=np.float32)
    mix[np.arange(side), low] = 1 - weight
    mix[np.arange(side), low + 1] = weight
    smooth = np.einsum("yi,bijc,xj->byxc", mix, knots, mix, optimize=True)
    noise = rng.standard_normal((count, side, side, 3), dtype=np.float32)
    canvas = np.zeros((count, side + 2 * MARGIN, side + 2 * MARGIN, 3), dtype=np.float32)
    canvas[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = 0.35 * smooth + 0.04 * noise
    return canvas


def paste(rng: np.random.Generator, canvas: Floats, ink_BPP: Floats, corner_B2: Ints) -> None:
    """Blend one drawing per canvas into it, in a light colour; corners are (row, column) in px."""
    colour_BC = 0.7 + 0.3 * rng.random((len(canvas), 3), dtype=np.float32)
    blend(canvas, ink_BPP, corner_B2, colour_BC)


def blend(
    canvas: Floats,
    ink_NPP: Floats,
    corner_N2: Ints,
    colour_NC: Floats,
    scene_N: Ints | None = None,
) -> None:
    """Blend drawings into canvases; colours have as many channels as these.

    `scene_N` says into which canvas each drawing goes, and those of one canvas must not overlap;
    without it there is one for each.
    """
    scenes = np.arange(len(canvas)) if scene_N is None else scene_N
    span = np.arange(CELL) + MARGIN
    rows = (corner_N2[:, :1] + span)[:, :, None]
    columns = (corner_N2[:, 1:] + span)[:, None, :]
    index, ink, colour = scenes[:, None, None], ink_NPP[..., None], colour_NC[:, None, None]
    canvas[index, rows, columns] = canvas[index, rows, columns] * (1 - ink) + colour * ink


def fragment(rng: np.random.Generator, ink_BPP: Floats) -> tuple[Floats, Ints]:
    """Keep a random square of each drawing; also the squares' centres [B, 2] in px."""
    count = len(ink_BPP)
    side = rng.choice(FRAGMENT_SIDES, size=count)[:, None]
    start = rng.integers(2, CELL - 2 - side + 1, (count, 2))
    span = np.arange(CELL)
    inside = (span >= start[..., None]) & (span < (start + side)[..., None])
    return ink_BPP * (inside[:, 0, :, None] & inside[:, 1, None, :]), start + side // 2


def normalised(canvas: Floats) -> Floats:
    """Crop the margin and normalise: [B, 3, S, S]."""
    inner = canvas[:, MARGIN:-MARGIN, MARGIN:-MARGIN].transpose(0, 3, 1, 2)
    return np.ascontiguousarray((inner - np.float32(PIXEL_MEAN)) / np.float32(PIXEL_STD))


def corner_of(cells_B: Ints) -> Ints:
    """(row, column) of the cells' upper left pixels: [B, 2]."""
    return np.stack([cells_B // LATTICE, cells_B % LATTICE], axis=1) * CELL


def compose(rng: np.random.Generator, split: Split, count: int, warp: Warp | None = None) -> Scenes:
    """Draw `count` scenes from scans of `split`."""
    images, labels = scans(split)
    canvas = blank(rng, count)
    cells = rng.integers(0, LATTICE**2, count)
    for _ in range(FRAGMENTS):
        elsewhere = (cells + rng.integers(1, LATTICE**2, count)) % LATTICE**2
        ink, centre = fragment(rng, draw(rng, images[rng.integers(0, len(images), count)], warp))
        target = corner_of(elsewhere) + rng.integers(0, CELL, (count, 2))
        paste(rng, canvas, ink, target - centre)
    chosen = rng.integers(0, len(images), count)
    paste(rng, canvas, draw(rng, images[chosen], warp), corner_of(cells))
    return Scenes(normalised(canvas), labels[chosen], cells)


def stream(split: Split, count: int) -> Scenes:
    """The first `count` scenes of a split's fixed, undistorted stream."""
    seed = (SPLIT_SEED, split_index(split))
    return leading([compose(rng, split, BLOCK) for rng in generators(seed, count)], count)
