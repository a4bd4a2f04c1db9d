import numpy as np
import torch
from torch import nn

from sweeps.reference import lattice


def test_a_window_holds_the_cell_it_was_drawn_around_and_lies_on_the_lattice():
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 9, 200)
    within = lattice.cells_within(lattice.corners(rng, cells, 2), 2)
    assert (within == cells[:, None]).any(axis=1).all()
    rows, columns = within // 3, within % 3
    assert (rows[:, 2] - rows[:, 0] == 1).all()
    assert (columns[:, 1] - columns[:, 0] == 1).all()
    assert len({tuple(row) for row in within}) == 4


def test_the_tokens_of_a_window_are_those_of_its_cells():
    rng = np.random.default_rng(0)
    corners = lattice.corners(rng, rng.integers(0, 9, 50), 2)
    labels = lattice.per_token(np.tile(np.arange(9), (50, 1)))
    seen = labels.gather(1, lattice.tokens_within(corners, 2))
    for row, cells in zip(seen, lattice.cells_within(corners, 2), strict=True):
        assert sorted(row.tolist()) == sorted(np.repeat(cells, 16).tolist())


def test_a_label_of_a_cell_is_that_of_its_sixteen_patches():
    tokens = lattice.per_token(np.arange(9)[None]).view(12, 12)
    assert (tokens[4:8, 8:12] == 5).all()
    assert (tokens == 5).sum() == 16


def test_only_the_window_is_seen_and_only_inside_the_block():
    layer = nn.Identity()
    tokens = torch.arange(2 * 145.0).view(2, 145, 1)
    window = torch.tensor([[0, 143], [5, 6]])
    with lattice.only(layer, window):
        seen = layer(tokens)[..., 0]
    assert seen.tolist() == [[0, 1, 144], [145, 151, 152]]
    assert layer(tokens).shape == tokens.shape
