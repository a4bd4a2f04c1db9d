"""What the vision recipes share: windows of cells, and labels of cells as labels of tokens.

Digits stand in the cells of a lattice, so a window of 2x2 cells is a small scene: it costs 0.4 of a
step on the whole one and teaches the same. Tokens keep the position embeddings of their places.

Shapes: B scenes, C = 9 cells, N = 144 patch tokens (12x12, patches of 4 px), W window tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeps.data.scenes import CELL, LATTICE, SIDE, Ints

PATCH: Final = 4  # px
GRID: Final = SIDE // PATCH  # patches along a side
CELL_GRID: Final = CELL // PATCH  # patches along a cell


def per_token(cells_BC: Ints) -> Tensor:
    """Labels of cells to labels of their patch tokens: [B, 9] to [B, N]."""
    grid = cells_BC.reshape(-1, LATTICE, LATTICE)
    tokens = grid.repeat(CELL_GRID, axis=1).repeat(CELL_GRID, axis=2)
    return torch.from_numpy(tokens.reshape(len(cells_BC), -1))


def corners(rng: np.random.Generator, cells_B: Ints, side: int) -> Ints:
    """Random squares of `side` x `side` cells around each given cell: (row, column) [2, B]."""
    row_and_column = np.stack([cells_B // LATTICE, cells_B % LATTICE])
    first = np.maximum(0, row_and_column - side + 1)
    last = np.minimum(row_and_column, LATTICE - side)
    return rng.integers(first, last + 1)


def cells_within(corners_2B: Ints, side: int) -> Ints:
    """The cells of each square, in reading order: [B, side * side]."""
    top, left = corners_2B[..., None, None]
    span = np.arange(side)
    cells: Ints = (top + span[:, None]) * LATTICE + left + span
    return cells.reshape(corners_2B.shape[1], -1)


def tokens_within(corners_2B: Ints, side: int) -> Tensor:
    """The patch tokens of each square of cells, in reading order: [B, W]."""
    top, left = corners_2B[..., None, None] * CELL_GRID
    span = np.arange(side * CELL_GRID)
    tokens = (top + span[:, None]) * GRID + left + span
    return torch.from_numpy(tokens.reshape(corners_2B.shape[1], -1))


@contextmanager
def only(embeddings: nn.Module, window_BW: Tensor) -> Iterator[None]:
    """The network sees the class token and these patch tokens, and nothing else of an image."""
    keep_BK = functional.pad(window_BW + 1, (1, 0))
    rows = torch.arange(len(keep_BK))[:, None]
    hook = embeddings.register_forward_hook(lambda _module, _args, out: out[rows, keep_BK])
    try:
        yield
    finally:
        hook.remove()
