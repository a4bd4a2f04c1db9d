import pytest

from methods.kv.knorm import Knorm


@pytest.mark.parametrize("num_keep", [1, 8, 19])
def test_keys_of_low_norm_stay(context, kept, highest, num_keep):
    ctx = context(num_in=20, num_keep=num_keep)
    expected = []
    for keys_ND in ctx.keys_BND.tolist():
        scores = [-sum(value**2 for value in key) for key in keys_ND]
        expected.append(sorted(highest(scores, range(20), num_keep)))
    assert kept(Knorm(), ctx) == expected
