"""Lazy turns take whom patient ones take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.vlm._facility import ASKED_AT_ONCE, greedy_turns


def patient_turns(similarity: Tensor, merit: Tensor, members: Tensor, num_turns: int) -> list[int]:
    """Everybody is asked in every turn."""
    turns, covered = [num_turns] * len(merit), torch.zeros(len(merit))
    for turn in range(min(num_turns, int(members.sum()))):
        gains = (similarity - covered[:, None]).clamp_min(0)[members].sum(0) + merit
        free = members & (torch.tensor(turns) == num_turns)
        taken = int(gains.masked_fill(~free, -torch.inf).argmax())
        turns[taken] = turn
        covered = covered.maximum(similarity[:, taken])
    return turns


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_lazy_turns_take_whom_patient_ones_take(spread: float) -> None:
    """Also of equals, which a few distinct points (no spread) make many of."""
    draw = torch.Generator().manual_seed(0)
    num_places = 3 * ASKED_AT_ONCE
    points = torch.randint(0, 3, (3, num_places, 4), generator=draw).float()
    points = points + spread * torch.rand(points.shape, generator=draw)
    # Multiples of 1/64 add up without rounding, in whatever order.
    similarity = (points @ points.mT / 64).round(decimals=0) / 64
    merit = torch.randint(0, 9, (3, num_places), generator=draw).float() / 64
    members = torch.rand(3, num_places, generator=draw) < 0.7
    members[2] = torch.arange(num_places) < 5
    turns = greedy_turns(similarity, merit, members, 20)
    for group in range(3):
        expected = patient_turns(similarity[group], merit[group], members[group], 20)
        assert turns[group].tolist() == expected
