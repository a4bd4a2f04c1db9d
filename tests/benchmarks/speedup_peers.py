"""Our compressors beside the authors' public ones: the same tensors, in turn, in one process.

    python -m tests.benchmarks.speedup_peers --tome PATH       # a checkout of facebookresearch/ToMe
    .fidelity/bin/python -m tests.benchmarks.speedup_peers --kvpress    # made by ``make fidelity``

- ToMe: ``bipartite_soft_matching`` and ``merge_wavg`` of ``tome/merge.py``, as a timm block calls
  them, beside what a block here does: match, build W, merge tokens, add up sizes. Neither holds a
  class token, whose place in the split differs.
- SnapKV: ``SnapKVPress.compress`` of kvpress beside ``SnapKV.transform`` and the W of keys and
  values, both with the window's queries at hand: kvpress would project them once more.

What comes out is compared before anything is timed. One thread, processor time, the median of the
pairs and the lowest and highest; below 1 ours is faster.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from methods.contexts import CacheContext
from methods.kv.snapkv import SnapKV
from methods.transform import TokenTransform
from methods.vision._rounds import accept_proposals, bipartite_proposals

WINDOW = 32
Call = Callable[[], Any]


def tome_pairs(path: Path) -> dict[str, tuple[Call, Call]]:
    """Ours and theirs for a block of DeiT-B at 384 px, by what is removed of how many images."""
    spec = importlib.util.spec_from_file_location("tome_merge", path / "tome" / "merge.py")
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    return {
        f"ToMe, {batch} x 576 tokens, {num_remove} removed": _tome_pair(theirs, batch, num_remove)
        for batch, num_remove in [(1, 68), (1, 288), (8, 68), (8, 288)]
    }


def _tome_pair(theirs: Any, batch: int, num_remove: int) -> tuple[Call, Call]:
    draw = torch.Generator().manual_seed(0)
    metric_BND = torch.randn(batch, 576, 64, generator=draw)
    x_BND = torch.randn(batch, 576, 768, generator=draw)
    sizes_BN = torch.randint(1, 4, (batch, 576), generator=draw).float()

    def ours() -> tuple[Tensor, Tensor]:
        rows_BN = accept_proposals(*bipartite_proposals(metric_BND), 576, num_remove)
        w = TokenTransform.merge(rows_BN, sizes_BN, 576 - num_remove)
        return w(x_BND), w.sizes(sizes_BN)

    def other() -> tuple[Tensor, Tensor]:
        merge, _ = theirs.bipartite_soft_matching(metric_BND, num_remove)
        merged_BKD, left_BK1 = theirs.merge_wavg(merge, x_BND, sizes_BN[..., None])
        return merged_BKD, left_BK1[..., 0]

    _require_same_tokens(*ours(), *other())
    return ours, other


def _require_same_tokens(
    mine_BKD: Tensor, my_sizes_BK: Tensor, other_BKD: Tensor, other_sizes_BK: Tensor
) -> None:
    """Unmerged tokens follow each other in another order: theirs by similarity, ours as before."""
    mine_BK, other_BK = mine_BKD.sum(2), other_BKD.sum(2)
    my_order_BK, other_order_BK = mine_BK.argsort(1), other_BK.argsort(1)
    torch.testing.assert_close(
        my_sizes_BK.gather(1, my_order_BK), other_sizes_BK.gather(1, other_order_BK)
    )
    torch.testing.assert_close(
        mine_BK.gather(1, my_order_BK), other_BK.gather(1, other_order_BK), atol=1e-3, rtol=1e-4
    )


def snapkv_pairs() -> dict[str, tuple[Call, Call]]:
    """Ours and kvpress's for a layer of Llama-3-8B, by the length of the prompt."""
    return {
        f"SnapKV, 8 heads of {length:,} entries, a quarter kept": _snapkv_pair(length)
        for length in (2048, 8192)
    }


def _snapkv_pair(length: int) -> tuple[Call, Call]:
    from kvpress import SnapKVPress

    draw = torch.Generator().manual_seed(0)
    queries = torch.randn(1, 32, length, 128, generator=draw)
    keys, values = (torch.randn(1, 8, length, 128, generator=draw) for _ in range(2))
    press = SnapKVPress(compression_ratio=0.75, window_size=WINDOW, kernel_size=5)
    config = SimpleNamespace(num_attention_heads=32, num_key_value_heads=8)
    module = SimpleNamespace(config=config, head_dim=128)
    unturned = {"position_embeddings": (torch.ones(1, length, 128), torch.zeros(1, length, 128))}
    hidden = torch.empty(1, length, 1)

    def ready(_module: object, states: Tensor) -> Tensor:
        return queries[:, :, -states.shape[1] :]

    def ours() -> tuple[Tensor, Tensor]:
        context = _context(queries, keys, values)
        w = SnapKV(window_size=WINDOW).transform(context)
        return w(context.keys_BND), w(context.values_BND)

    @torch.no_grad()
    def other() -> tuple[Tensor, Tensor]:
        with patch("kvpress.presses.snapkv_press.get_prerope_query_states", ready):
            kept: tuple[Tensor, Tensor] = press.compress(
                module, hidden, keys, values, None, unturned
            )
        return kept

    for mine, theirs in zip(ours(), other(), strict=True):
        # The order of entries differs, which no attention can tell.
        assert torch.equal(mine[..., 0].sort(1).values, theirs[0, ..., 0].sort(1).values)
    return ours, other


def _context(queries: Tensor, keys: Tensor, values: Tensor) -> CacheContext:
    _, num_heads, length, width = keys.shape
    return CacheContext(
        sizes_BN=torch.ones(num_heads, length),
        num_keep=length // 4,
        layer=0,
        num_layers=1,
        generator=torch.Generator(),
        keys_BND=keys.view(num_heads, length, width),
        values_BND=values.view(num_heads, length, width),
        queries_BGTD=queries.view(num_heads, -1, length, width),
        scaling=width**-0.5,
        num_heads=num_heads,
    )


def ratios(ours: Call, theirs: Call, pairs: int) -> tuple[list[float], float]:
    """Our time over theirs of every pair, and our median time in seconds."""
    found, times = [], []
    for pair in range(pairs):
        order = (ours, theirs) if pair % 2 == 0 else (theirs, ours)
        taken = {call: _seconds(call) for call in order}
        found.append(taken[ours] / taken[theirs])
        times.append(taken[ours])
    return found, median(times)


def _seconds(call: Call) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> int:
    """Print a line for every shape; 1 if ours is slower anywhere."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tome", type=Path, help="checkout of facebookresearch/ToMe")
    parser.add_argument("--kvpress", action="store_true", help="compare with the kvpress installed")
    parser.add_argument("--pairs", type=int, default=31)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    contenders = tome_pairs(chosen.tome) if chosen.tome else {}
    contenders |= snapkv_pairs() if chosen.kvpress else {}
    if not contenders:
        parser.error("name a peer: --tome PATH or --kvpress")
    slower = 0
    for title, (ours, theirs) in contenders.items():
        found, seconds = ratios(ours, theirs, chosen.pairs)
        slower += median(found) > 1
        sys.stdout.write(
            f"{title}: {median(found):.2f} of their time [{min(found):.2f}, {max(found):.2f}], "
            f"{1000 * seconds:.1f} ms\n"
        )
    return int(slower > 0)


if __name__ == "__main__":
    sys.exit(main())
