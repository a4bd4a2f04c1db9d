"""Scenes whose every pixel is labelled: background, ink of a fragment, or ink of a whole digit.

A 48x48 RGB scene as in :mod:`sweeps.data.scenes`, but with three whole digits, in different cells
of the 3x3 lattice, and six fragments anywhere, over which the digits are drawn. Whether a stroke
belongs to a whole digit shows only in its surroundings. A pixel is ink where the last drawing that
reaches it covers at least half of it.

Shapes: B scenes, S = 48 scene side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sweeps.data import scenes
from sweeps.data.scenes import FRAGMENTS, LATTICE, MARGIN, SIDE, SPLIT_SEED, Floats, Ints, Warp
from sweeps.data.streams import BLOCK, Split, generators, leading

CLASSES: Final = ("background", "fragment", "digit")
BACKGROUND, FRAGMENT, DIGIT = range(len(CLASSES))
DIGITS: Final = 3  # per scene
COVERED: Final = 0.5  # opacity from which a pixel is ink


@dataclass(frozen=True)
class LabelledScenes:
    """Scenes with the class of every pixel."""

    pixels: Floats  # [B, 3, S, S], normalised to about zero mean and unit variance
    classes: Ints  # [B, S, S], 0 to 2


def compose(
    rng: np.random.Generator, split: Split, count: int, warp: Warp | None = None
) -> LabelledScenes:
    """Draw `count` scenes from scans of `split`."""
    images, _ = scenes.scans(split)
    canvas = scenes.blank(rng, count)
    classes = np.zeros((*canvas.shape[:3], 1), np.float32)
    for _ in range(FRAGMENTS):
        chosen = rng.integers(0, len(images), count)
        ink, centre = scenes.fragment(rng, scenes.draw(rng, images[chosen], warp))
        _paste(rng, canvas, classes, ink, rng.integers(0, SIDE, (count, 2)) - centre, FRAGMENT)
    cells = rng.permuted(np.tile(np.arange(LATTICE**2), (count, 1)), axis=1)
    for cells_B in cells.T[:DIGITS]:
        chosen = rng.integers(0, len(images), count)
        ink = scenes.draw(rng, images[chosen], warp)
        _paste(rng, canvas, classes, ink, scenes.corner_of(cells_B), DIGIT)
    inner = classes[:, MARGIN:-MARGIN, MARGIN:-MARGIN, 0]
    return LabelledScenes(scenes.normalised(canvas), inner.astype(np.int64))


def _paste(
    rng: np.random.Generator,
    canvas: Floats,
    classes: Floats,
    ink_BPP: Floats,
    corner_B2: Ints,
    label: int,
) -> None:
    scenes.paste(rng, canvas, ink_BPP, corner_B2)
    covered = (ink_BPP >= COVERED).astype(np.float32)
    colour = np.full((len(canvas), 1), label, np.float32)
    scenes.blend(classes, covered, corner_B2, colour)


def stream(split: Split, count: int) -> LabelledScenes:
    """The first `count` scenes of a split's fixed, undistorted stream."""
    seed = (SPLIT_SEED, 3, scenes.split_index(split))
    return leading([compose(rng, split, BLOCK) for rng in generators(seed, count)], count)


def mean_iou(predicted_BSS: Ints, classes_BSS: Ints) -> Floats:
    """Intersection over union, averaged over the classes that a scene shows: [B] in 0..1.

    The image-wise mean of "Revisiting Evaluation Metrics for Semantic Segmentation"
    (arXiv:2310.19252, mIoU-I), which gives every scene a score of its own.
    """
    labels = np.arange(len(CLASSES))[:, None, None, None]
    guessed, true = predicted_BSS == labels, classes_BSS == labels
    both_KB = (guessed & true).sum(axis=(2, 3))
    either_KB = (guessed | true).sum(axis=(2, 3))
    shown_KB = true.any(axis=(2, 3))
    iou_KB = np.where(shown_KB, both_KB / np.maximum(either_KB, 1), 0)
    mean_B: Floats = (iou_KB.sum(axis=0) / shown_KB.sum(axis=0)).astype(np.float32)
    return mean_B
