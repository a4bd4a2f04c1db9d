from methods.kv.pyramidkv import PyramidKV
from methods.kv.snapkv import SnapKV
from methods.schedule import Pyramid


def test_within_a_layer_it_keeps_what_snapkv_keeps(context, kept):
    for num_keep in (1, 5, 12):
        ctx = context(num_keep=num_keep)
        assert kept(PyramidKV(), ctx) == kept(SnapKV(), ctx)


def test_its_paper_gives_later_layers_less():
    held = PyramidKV.home.held(0.25, 6)
    assert PyramidKV.home == Pyramid()
    assert sorted(held, reverse=True) == list(held)
    assert held[0] > 4 * held[-1]
