"""Corruptions of scenes, for suites of distribution shift.

Noise, blur and contrast of "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (arXiv:1903.12261), with the severities that its authors chose for images of 64x64
(Tiny-ImageNet-C), the nearest to these scenes. As there, images are corrupted between 0 and 1 and
clipped; unlike there, they are not rounded to 256 levels, and the blur mirrors an image at its
edge.

Shapes: B scenes, S scene side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import numpy as np

from sweeps.data.scenes import PIXEL_MEAN, PIXEL_STD, SPLIT_SEED, Floats

Corruption = Literal["none", "noise", "blur", "contrast"]

SEVERITIES: Final = 5
NOISE: Final = (0.04, 0.08, 0.12, 0.15, 0.18)  # standard deviation
BLUR: Final = (0.5, 0.75, 1.0, 1.25, 1.5)  # standard deviation of the kernel, px
CONTRAST: Final = (0.4, 0.3, 0.2, 0.1, 0.05)  # share of the difference to the mean that is left
REACH: Final = 4.0  # standard deviations to which the blur's kernel extends


def corrupted(pixels_BCSS: Floats, corruption: Corruption, severity: int) -> Floats:
    """Normalised scenes, corrupted; `severity` is 1 to 5 and says nothing without a corruption.

    Noise depends on a scene's place in the batch alone, so that a short stream is the front of a
    long one.
    """
    if corruption == "none":
        return pixels_BCSS
    mean, std = np.float32(PIXEL_MEAN), np.float32(PIXEL_STD)
    image = np.clip(pixels_BCSS * std + mean, 0, 1)
    changed = np.clip(_KINDS[corruption](image, severity - 1), 0, 1)
    scaled: Floats = ((changed - mean) / std).astype(np.float32)
    return scaled


def _noise(image: Floats, level: int) -> Floats:
    grains = [
        np.random.default_rng((SPLIT_SEED, 4, index)).standard_normal(scene.shape, np.float32)
        for index, scene in enumerate(image)
    ]
    noisy: Floats = (image + NOISE[level] * np.stack(grains)).astype(np.float32)
    return noisy


def _blur(image: Floats, level: int) -> Floats:
    kernel_SS = _kernel(image.shape[-1], BLUR[level])
    blurred: Floats = np.matmul(np.matmul(kernel_SS, image), kernel_SS.T)
    return blurred


def _kernel(side: int, sigma: float) -> Floats:
    """The blur along one axis as a matrix [S, S]; beyond the edge an image is mirrored."""
    reach = int(REACH * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    sources = np.arange(side)[:, None] + offsets
    sources = np.where(sources < 0, -sources - 1, sources)
    sources = np.where(sources >= side, 2 * side - sources - 1, sources)
    kernel = np.zeros((side, side))
    np.add.at(kernel, (np.arange(side)[:, None], sources), weights / weights.sum())
    return kernel.astype(np.float32)


def _contrast(image: Floats, level: int) -> Floats:
    mean = image.mean(axis=(2, 3), keepdims=True)
    changed: Floats = (image - mean) * np.float32(CONTRAST[level]) + mean
    return changed


_KINDS: Final[dict[str, Callable[[Floats, int], Floats]]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
}
