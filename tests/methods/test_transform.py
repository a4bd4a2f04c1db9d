"""The matrix W: its sparse form does what its dense form says."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.transform import TokenTransform

quick = settings(derandomize=True, max_examples=50, deadline=None, database=None)


@st.composite
def merges(draw: st.DrawFn) -> tuple[TokenTransform, torch.Tensor]:
    """A merge in which every row has a token, and the sizes it was weighted by."""
    batch, num_in = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    num_out = draw(st.integers(1, num_in))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    surplus = torch.randint(num_out, (batch, num_in - num_out), generator=random)
    rows_BN = torch.cat([torch.arange(num_out).expand(batch, -1), surplus], 1)
    order_BN = torch.rand(batch, num_in, generator=random).argsort(1)
    sizes_BN = torch.randint(1, 9, (batch, num_in), generator=random).float()
    return TokenTransform.merge(rows_BN.gather(1, order_BN), sizes_BN, num_out), sizes_BN


@quick
@given(merge=merges())
def test_applying_w_is_the_matrix_product(merge: tuple[TokenTransform, torch.Tensor]) -> None:
    w, _ = merge
    x_BND = torch.randn(w.batch, w.num_in, 5)
    torch.testing.assert_close(w(x_BND), w.dense() @ x_BND)


@quick
@given(merge=merges())
def test_merging_keeps_the_total_size_and_the_weighted_mean(
    merge: tuple[TokenTransform, torch.Tensor],
) -> None:
    w, sizes_BN = merge
    x_BND = torch.randn(w.batch, w.num_in, 3)
    sizes_BK = w.sizes(sizes_BN)
    torch.testing.assert_close(sizes_BK.sum(1), sizes_BN.sum(1))
    before = (sizes_BN[..., None] * x_BND).sum(1)
    torch.testing.assert_close((sizes_BK[..., None] * w(x_BND)).sum(1), before)


@quick
@given(merge=merges())
def test_unmerging_gives_every_token_its_rows_value(
    merge: tuple[TokenTransform, torch.Tensor],
) -> None:
    w, _ = merge
    x_BKD = torch.randn(w.batch, w.num_out, 3)
    expected = x_BKD.gather(1, w.rows[..., None].expand(-1, -1, 3))
    torch.testing.assert_close(w.unmerge(x_BKD), expected)


def test_identity_changes_no_bit() -> None:
    w = TokenTransform.identity(2, 5)
    x_BND = torch.randn(2, 5, 3)
    assert torch.equal(w(x_BND), x_BND)
    assert torch.equal(w.unmerge(x_BND), x_BND)
    assert torch.equal(w.sizes(torch.full((2, 5), 3.0)), torch.full((2, 5), 3.0))
    assert not w.merges


def test_pruning_selects_in_the_given_order_and_passes_sizes_on() -> None:
    w = TokenTransform.keep(torch.tensor([[2, 0], [1, 3]]), num_in=4)
    x_BND = torch.randn(2, 4, 3)
    assert torch.equal(w(x_BND), torch.stack([x_BND[0, [2, 0]], x_BND[1, [1, 3]]]))
    sizes_BN = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    assert torch.equal(w.sizes(sizes_BN), torch.tensor([[3.0, 1], [6, 8]]))
    assert not w.merges


def test_pruned_tokens_unmerge_to_zero() -> None:
    w = TokenTransform.keep(torch.tensor([[1]]), num_in=3)
    assert torch.equal(w.unmerge(torch.ones(1, 1, 1)), torch.tensor([[[0.0], [1], [0]]]))


def test_a_token_shared_by_rows_is_divided_between_them() -> None:
    shared = TokenTransform(
        rows=torch.tensor([[0, 0, 1]]),
        cols=torch.tensor([[0, 1, 1]]),
        weights=torch.tensor([[0.5, 0.5, 1.0]]),
        num_in=2,
        num_out=2,
    )
    sizes = shared.sizes(torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(sizes, torch.tensor([[2.0, 2.0]]))


def test_padding_with_zero_weights_changes_nothing() -> None:
    plain = TokenTransform.keep(torch.tensor([[1, 2]]), num_in=3)
    padded = TokenTransform(
        rows=torch.tensor([[0, 1, 0]]),
        cols=torch.tensor([[1, 2, 0]]),
        weights=torch.tensor([[1.0, 1.0, 0.0]]),
        num_in=3,
        num_out=2,
    )
    x_BND, sizes_BN = torch.randn(1, 3, 4), torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(padded.dense(), plain.dense())
    assert torch.equal(padded(x_BND), plain(x_BND))
    assert torch.equal(padded.sizes(sizes_BN), plain.sizes(sizes_BN))


def test_results_keep_the_dtype_of_the_tokens() -> None:
    w = TokenTransform.merge(torch.tensor([[0, 0, 1]]), torch.ones(1, 3), 2)
    assert w(torch.ones(1, 3, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_mix_takes_any_share_of_any_token() -> None:
    weights_BKN = torch.tensor([[[1.0, 1.0, 2.0], [0.0, 3.0, 1.0]]])
    w = TokenTransform.mix(weights_BKN)
    expected_BKN = torch.tensor([[[0.25, 0.25, 0.5], [0.0, 0.75, 0.25]]])
    torch.testing.assert_close(w.dense(), expected_BKN)
    x_BND = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(w(x_BND), expected_BKN @ x_BND)
    torch.testing.assert_close(w.sizes(torch.ones(1, 3)).sum(1), torch.tensor([3.0]))


def test_gains_change_lengths_and_nothing_else() -> None:
    plain = TokenTransform.merge(torch.tensor([[0, 1, 0]]), torch.ones(1, 3), num_out=2)
    louder = replace(plain, gains=torch.tensor([[2.0, 1.0]]))
    x_BND = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(louder(x_BND), plain(x_BND) * torch.tensor([[[2.0], [1.0]]]))
    assert torch.equal(louder.dense(), plain.dense())
    assert torch.equal(louder.sizes(torch.ones(1, 3)), plain.sizes(torch.ones(1, 3)))
    assert louder(x_BND.bfloat16()).dtype == torch.bfloat16


def test_reordering_rows_reorders_what_comes_out() -> None:
    draw = torch.Generator().manual_seed(0)
    forms = [
        TokenTransform.keep(torch.tensor([[4, 1, 0], [2, 3, 4]]), num_in=5),
        TokenTransform.merge(torch.tensor([[0, 1, 1, 2, 0], [2, 1, 0, 0, 0]]), torch.ones(2, 5), 3),
        TokenTransform.mix(torch.rand(2, 3, 5, generator=draw)),
    ]
    order_BK = torch.tensor([[2, 0, 1], [1, 0, 2]])
    x_BND = torch.randn(2, 5, 4, generator=draw)
    for plain in forms:
        w = replace(plain, gains=torch.rand(2, 3, generator=draw))
        expected_BKD = torch.stack([w(x_BND)[b, order_BK[b]] for b in range(2)])
        torch.testing.assert_close(w.reordered(order_BK)(x_BND), expected_BKD)
        sizes_BK = w.sizes(torch.ones(2, 5)).gather(1, order_BK)
        torch.testing.assert_close(w.reordered(order_BK).sizes(torch.ones(2, 5)), sizes_BK)


def test_more_entries_than_tokens_are_applied_as_one_product() -> None:
    rows, cols = torch.tensor([[0, 0, 1, 1, 1]]), torch.tensor([[0, 2, 0, 1, 2]])
    weights = torch.tensor([[0.5, 0.5, 0.25, 0.25, 0.5]])
    w = TokenTransform(rows, cols, weights, num_in=3, num_out=2)
    x_BND = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    expected_BKD = torch.zeros(1, 2, 4)
    for row, col, weight in zip(rows[0], cols[0], weights[0], strict=True):
        expected_BKD[0, row] += weight * x_BND[0, col]
    torch.testing.assert_close(w(x_BND), expected_BKD)
