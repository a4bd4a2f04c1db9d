from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from methods.base import InfeasibleError
from methods.kv.kvcrush import KVCrush
from methods.kv.oracle import Oracle


def test_entries_of_most_attention_to_come_stay(context, kept, highest):
    ctx = context(num_in=20, num_keep=6)
    ctx = replace(ctx, future_BN=torch.rand(ctx.batch, 20, generator=ctx.generator))
    expected = [sorted(highest(row, range(20), 6)) for row in ctx.future_BN.tolist()]
    assert kept(Oracle(), ctx) == expected


def test_what_cannot_be_known_is_no_base_of_a_method():
    with pytest.raises(ValidationError, match="oracle"):
        KVCrush(base="oracle")


def test_without_a_rehearsal_it_says_so(context):
    with pytest.raises(InfeasibleError, match="alone"):
        Oracle().transform(context())


def test_its_savings_are_no_offer():
    assert {"kv", "kv_bytes"} <= Oracle().simulated
