"""Quantised cache entries: the rounding of KIVI written out plainly, and what is really held."""

import pytest
import torch

from methods.backbones.library.quantised_cache import QuantisedLayer
from methods.storage._base import Packed
from methods.storage.kivi import KIVI

B, K, D = 2, 3, 8


def entries(num, seed=0):
    return torch.randn(B, K, num, D, generator=torch.Generator().manual_seed(seed))


def rounded(numbers, bits):
    low, high = min(numbers), max(numbers)
    scale = (high - low) / (2**bits - 1)
    return [round((x - low) / scale) * scale + low for x in numbers]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_keys_share_a_scale_per_channel_and_values_per_token(bits):
    x = entries(8)
    method = KIVI(bits=bits, group_size=4)
    keys, values = method.pack_keys(x).unpack(), method.pack_values(x).unpack()
    assert keys.shape == values.shape == x.shape
    per_channel = rounded(x[1, 2, 4:8, 5].tolist(), bits)
    per_token = rounded(x[1, 2, 6, 4:8].tolist(), bits)
    torch.testing.assert_close(keys[1, 2, 4:8, 5], torch.tensor(per_channel), atol=1e-5, rtol=0)
    torch.testing.assert_close(values[1, 2, 6, 4:8], torch.tensor(per_token), atol=1e-5, rtol=0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_take_their_bits(bits):
    packed = Packed.of(entries(64), bits, 32, axis=2)
    assert packed.codes.untyped_storage().nbytes() == B * K * D * 64 * bits // 8


def test_a_channel_of_large_keys_spoils_no_other_channel():
    """KIVI's reason to quantise keys per channel."""
    x = entries(32)
    x[..., 3] *= 100
    others = [d for d in range(D) if d != 3]
    method = KIVI(bits=4, group_size=32)
    error_of_keys = (method.pack_keys(x).unpack() - x)[..., others].abs().mean()
    error_per_token = (method.pack_values(x).unpack() - x)[..., others].abs().mean()
    assert error_of_keys < error_per_token / 5


def test_equal_numbers_come_back_exactly():
    x = torch.full((1, 1, 4, D), 3.5)
    assert torch.equal(KIVI(group_size=4).pack_keys(x).unpack(), x)


def test_the_newest_entries_stay_whole_and_older_ones_leave_in_groups():
    layer = QuantisedLayer(KIVI(bits=4, group_size=4, residual=5))
    x = entries(15)
    layer.update(x, x)
    layer.settle()
    assert (layer.num_packed, layer.held, layer.seen) == (8, 15, 15)
    assert torch.equal(layer.keys, x[:, :, 8:])
    whole = 2 * x.numel() * 4
    assert layer.num_bytes < whole * 0.9
    new = entries(2, seed=1)
    keys, _ = layer.update(new, new)
    assert keys.shape[2] == 17
    assert torch.equal(keys[:, :, 8:], torch.cat([x[:, :, 8:], new], dim=2))
    torch.testing.assert_close(keys[:, :, :8], x[:, :, :8], atol=0.4, rtol=0)
    assert (layer.num_packed, layer.held) == (12, 17)
