"""Selectors of cache entries, each against its paper's rule written out plainly."""

import pytest
import torch

from methods.attention._base import ReadContext
from methods.attention.longheads import LongHeads
from methods.attention.oracle_topk import OracleTopK
from methods.attention.quest import Quest
from methods.attention.sink_window import SinkWindow
from methods.attention.tidaldecode import TidalDecode
from methods.base import InfeasibleError
from methods.registry import entries

SELECTORS = [entry for entry in entries().values() if entry.family == "attention"]
B, K, G, D = 2, 2, 2, 8


def context(num_entries=37, num_read=9, layer=2, seed=0, **more):
    draw = torch.Generator().manual_seed(seed)
    return ReadContext(
        query_BHD=torch.randn(B, K * G, D, generator=draw),
        keys_BKSD=torch.randn(B, K, num_entries, D, generator=draw),
        num_read=num_read,
        layer=layer,
        num_layers=4,
        scaling=D**-0.5,
        **more,
    )


@pytest.mark.parametrize("entry", SELECTORS, ids=lambda entry: entry.id)
@pytest.mark.parametrize("num_read", [1, 5, 16, 36])
def test_the_budget_is_met_with_distinct_entries_and_the_newest_is_among_them(entry, num_read):
    step = {}
    readings = [entry.method().read(context(num_read=num_read, layer=i, step=step)) for i in (2, 3)]
    entries_BKR = next(reading.entries for reading in reversed(readings) if reading is not None)
    assert entries_BKR.shape[0] == B
    assert entries_BKR.shape[1] in (K, K * G)
    assert entries_BKR.shape[2] == num_read
    assert (entries_BKR.diff(dim=-1) > 0).all(), "entries are distinct and in order"
    assert (entries_BKR[..., -1] == 36).all()


def test_the_oracle_reads_what_is_attended_to_most():
    ctx = context()
    reading = OracleTopK().read(ctx)
    for b in range(B):
        for k in range(K):
            total = torch.zeros(37)
            for head in (k * G, k * G + 1):
                total += (ctx.keys_BKSD[b, k] @ ctx.query_BHD[b, head] * ctx.scaling).softmax(0)
            total[36] = torch.inf
            assert reading.entries[b, k].tolist() == sorted(total.topk(9).indices.tolist())
    assert reading.compared == 37


def test_quest_ranks_pages_by_the_best_their_keys_could_do():
    ctx = context(num_entries=40, num_read=16)
    reading = Quest(page_size=8).read(ctx)
    for b in range(B):
        for k in range(K):
            scores = []
            for page in range(5):
                keys = ctx.keys_BKSD[b, k, page * 8 : page * 8 + 8]
                bound = 0.0
                for head in (k * G, k * G + 1):
                    for d in range(D):
                        q = ctx.query_BHD[b, head, d].item()
                        bound += max(q * keys[:, d].min().item(), q * keys[:, d].max().item())
                scores.append(bound)
            best = max(range(4), key=scores.__getitem__)
            expected = [*range(best * 8, best * 8 + 8), *range(32, 40)]
            assert reading.entries[b, k].tolist() == expected


def test_no_key_beats_its_pages_bound():
    ctx = context(num_entries=40)
    quest = Quest(page_size=8)
    bounds_BHP = quest.upper_bounds(ctx, *quest._bounds(ctx))
    products_BHS = ctx.logits_against(ctx.keys_BKSD) / ctx.scaling
    assert (products_BHS.unflatten(2, (5, 8)).amax(-1) <= bounds_BHP + 1e-5).all()


def test_quest_remembers_whole_pages_from_step_to_step():
    sequence = {}
    longer = context(num_entries=44)
    shorter = ReadContext(**{**vars(longer), "keys_BKSD": longer.keys_BKSD[:, :, :37]})
    for ctx in (shorter, longer):
        told = Quest(page_size=8).read(ReadContext(**{**vars(ctx), "sequence": sequence}))
        afresh = Quest(page_size=8).read(ReadContext(**{**vars(ctx), "sequence": {}}))
        assert torch.equal(told.entries, afresh.entries)
    assert sequence["bounds"][0].shape[2] == 5


@pytest.mark.parametrize("layer", [0, 1])
def test_quests_first_layers_read_everything(layer):
    assert Quest().read(context(layer=layer)) is None


def test_sink_and_window_are_the_first_and_the_newest():
    entries = SinkWindow(num_sinks=3).read(context()).entries
    assert entries[1, 1].tolist() == [0, 1, 2, *range(31, 37)]
    assert SinkWindow(num_sinks=9).read(context()).entries[0, 0].tolist() == list(range(28, 37))


def test_tidaldecode_selects_once_and_persists_until_it_selects_again():
    step = {}
    method = TidalDecode(select=1, reselect=3)
    contexts = [context(layer=layer, seed=layer, step=step) for layer in range(5)]
    readings = [method.read(ctx) for ctx in contexts]
    assert [reading is None for reading in readings] == [True, True, False, True, False]
    for chosen, source in ((readings[2], contexts[1]), (readings[4], contexts[3])):
        logits = (source.keys_BKSD[0, 1] @ source.query_BHD[0, 2:].T).sum(1)
        logits[36] = torch.inf
        assert chosen.entries[0, 1].tolist() == sorted(logits.topk(9).indices.tolist())


def test_a_layer_with_a_smaller_budget_reads_the_best_of_what_was_selected():
    step, method = {}, TidalDecode(select=1, reselect=None)
    source = context(num_read=37, layer=1, step=step)
    assert method.read(source) is None, "a selection layer may read everything itself"
    wide, narrow = (
        method.read(context(num_read=num, layer=num_layer, seed=num_layer, step=step)).entries
        for num_layer, num in ((2, 12), (3, 5))
    )
    assert (wide.shape[2], narrow.shape[2]) == (12, 5)
    for b in range(B):
        for k in range(K):
            assert set(narrow[b, k].tolist()) < set(wide[b, k].tolist())
            logits = (source.keys_BKSD[b, k] @ source.query_BHD[b, k * G : k * G + G].T).sum(1)
            logits[36] = torch.inf
            assert narrow[b, k].tolist() == sorted(logits.topk(5).indices.tolist())


def test_positions_selected_among_other_entries_are_refused():
    step, method = {}, TidalDecode(select=1)
    method.read(context(layer=1, step=step))
    with pytest.raises(InfeasibleError, match="holds 37 entries and this one 30"):
        method.read(context(num_entries=30, layer=2, step=step))


def test_longheads_lets_every_head_choose_its_chunks():
    ctx = context(num_entries=40, num_read=24)
    entries_BHR = LongHeads(chunk_size=8).read(ctx).entries
    for b in range(B):
        for head in range(K * G):
            chunks = ctx.keys_BKSD[b, head // G].view(5, 8, D).mean(1)
            scores = (chunks @ ctx.query_BHD[b, head]).tolist()
            best = max(range(1, 4), key=scores.__getitem__)
            expected = [*range(8), *range(best * 8, best * 8 + 8), *range(32, 40)]
            assert entries_BHR[b, head].tolist() == expected
