"""What one call costs: floating-point operations and peak memory.

Both are counted while the call really runs, so they are measured, and they are the same numbers on
every run. Wall time is not: see :mod:`orchestrator.measurement.latency`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


@dataclass(frozen=True)
class Cost:
    """Cost of one call."""

    flops: int
    """Two per multiply-add of matrix products, convolutions, attention and pairwise distances;
    element-wise work and sorting are not counted (PyTorch's convention)."""
    peak_bytes: int
    """Largest sum of bytes of tensors that were alive at once and made by the call."""


def measure_cost(call: Callable[[], Any]) -> Cost:
    """Run ``call`` once and count.

    ``call`` must not enter ``torch.inference_mode``: operators are then not broken down into the
    ones that are counted. ``torch.no_grad`` is right.
    """
    flops = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
    memory = _LiveBytes()
    with flops, memory:
        call()
    return Cost(flops.get_total_flops(), memory.peak)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up storages as operators make them and subtracts them as they are freed.

    Scratch memory that a kernel takes and returns within one operator is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        before = {id(storage) for storage in _storages((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for storage in _storages(out):
            if id(storage) not in before:
                self._add(storage)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        num_bytes = storage.nbytes()
        self.live += num_bytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, num_bytes)

    def _free(self, num_bytes: int) -> None:
        self.live -= num_bytes


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_iter(values) if isinstance(leaf, torch.Tensor)]


def _attention_on_cpu_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _pairwise_distance_flops(x1: Any, x2: Any, *_: Any, **__: Any) -> int:
    *batch, rows, width = x1
    return int(2 * torch.Size(batch).numel() * rows * x2[-2] * width)


def _packed_matmul_flops(x: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return int(2 * torch.Size(x).numel() * out_shape[-1])


_aten = torch.ops.aten
_UNCOUNTED = {
    _aten._weight_int8pack_mm: _packed_matmul_flops,
    _aten._weight_int4pack_mm: _packed_matmul_flops,
    _aten._weight_int4pack_mm_for_cpu: _packed_matmul_flops,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention_on_cpu_flops,
    _aten._cdist_forward: _pairwise_distance_flops,
    _aten._euclidean_dist: _pairwise_distance_flops,
}
"""Operators that PyTorch 2.13's counter takes for free. Attention on a CPU is one of them."""
