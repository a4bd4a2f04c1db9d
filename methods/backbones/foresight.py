"""What an uncompressed model will attend to after a prompt, noted for methods that may know.

Shapes: B sequences, H query heads, K key/value heads, G query heads that share one, Q tokens fed at
once, N entries of the prompt, S entries before or among the tokens fed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.backbones.attention_tap import AttentionCall


class Foresight:
    """Attention that each layer's prompt entries get from everything fed after the prompt.

    ``received_BN`` by layer: one row for each pair of sequence and key/value head, sequences first;
    summed over the tokens fed, averaged over the query heads that share a cache.
    """

    def __init__(self) -> None:
        self.received_BN: dict[int, Tensor] = {}
        self._read: set[int] = set()

    def note(self, layer: int, scaling: float, call: AttentionCall) -> None:
        """Take in one attention call; a layer's first is the reading of the prompt."""
        if layer not in self._read:
            self._read.add(layer)
            return
        paid_BS = _received(call, scaling)
        if layer not in self.received_BN:
            num_prompt = paid_BS.shape[1] - call.query_BHTD.shape[2]
            self.received_BN[layer] = paid_BS.new_zeros(len(paid_BS), num_prompt)
        self.received_BN[layer] += paid_BS[:, : self.received_BN[layer].shape[1]]


def _received(call: AttentionCall, scaling: float) -> Tensor:
    """Causal attention per entry, float32 [B * K, S], over all entries that a token sees."""
    batch, num_heads, num_entries, width = call.key_BKND.shape
    num_new = call.query_BHTD.shape[2]
    queries_BKGQD = call.query_BHTD.reshape(batch, num_heads, -1, num_new, width)
    logits_BKGQS = (queries_BKGQD @ call.key_BKND.mT[:, :, None]).float() * scaling
    seen_QS = torch.ones(num_new, num_entries, dtype=torch.bool, device=logits_BKGQS.device).tril(
        num_entries - num_new
    )
    rows_BKGQS = logits_BKGQS.masked_fill(~seen_QS, float("-inf")).softmax(-1)
    return rows_BKGQS.sum(3).mean(2).view(-1, num_entries)
