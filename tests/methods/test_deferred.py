from dataclasses import dataclass, replace

import pytest
import torch

from methods.deferred import Deferred, PerLayer, Resolving, deferred


@dataclass(frozen=True)
class Pair(Resolving):
    first: torch.Tensor
    second: torch.Tensor


def counted(calls, value):
    def compute():
        calls.append(value)
        return torch.tensor(value)

    return compute


def test_a_field_is_computed_once_and_only_when_it_is_read():
    calls = []
    pair = Pair(deferred(counted(calls, 1)), torch.tensor(2))
    assert pair.second == 2
    assert calls == []
    assert pair.first == pair.first == 1
    assert calls == [1]


def test_copies_have_values():
    pair = replace(Pair(deferred(counted([], 1)), torch.tensor(2)), second=torch.tensor(3))
    assert not isinstance(vars(pair)["first"], Deferred)
    assert (pair.first, pair.second) == (1, 3)


def test_a_layer_is_computed_once_and_only_when_it_is_read():
    calls = []
    layers = PerLayer(counted(calls, value) for value in (10, 11, 12))
    assert len(layers) == 3
    assert layers[-1] == layers[2] == 12
    assert layers[0] == 10
    assert calls == [12, 10]
    with pytest.raises(IndexError):
        layers[3]
