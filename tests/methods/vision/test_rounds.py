"""What the rounds of merging share."""

from __future__ import annotations

import pytest
import torch

from methods.vision._rounds import Round, removed_in_round


def test_totals_follow_the_tokens_into_their_rows() -> None:
    rows_BN = torch.tensor([[0, 1, 0, 2], [2, 2, 1, 0]])
    now = Round(torch.zeros(2, 3, 1), torch.ones(2, 3), rows_BN, num_remove=1)
    totals_BM = now.total(torch.tensor([[1.0, 2.0, 4.0, 8.0]] * 2))
    assert totals_BM.tolist() == [[5.0, 2.0, 8.0], [8.0, 4.0, 3.0]]


@pytest.mark.parametrize(
    ("num_tokens", "num_keep", "share", "expected"),
    [(16, 4, 0.5, 8), (8, 4, 0.5, 4), (6, 4, 0.5, 2), (10, 1, 0.2, 2), (3, 1, 0.2, 1)],
)
def test_a_round_removes_its_share_but_never_too_much_nor_nothing(
    num_tokens: int, num_keep: int, share: float, expected: int
) -> None:
    assert removed_in_round(num_tokens, num_keep, share) == expected
