"""What visual tokens matter for what an uncompressed vision-language model answers.

The answer is rehearsed without compression, and what was read and fed is noted. Then all of it is
read once more in one piece, with gradients of what the model answered.

Shapes: B sequences, S tokens of a prompt, F tokens fed after it, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones.probing import probing
from methods.backbones.relevance import lead, relevance
from methods.backbones.visual_sequence import RotaryPositions, VisualSequence, rows_for_all


class VisualRehearsal:
    """One dialogue: its prompt, what was fed after it and, with that, how relevant tokens were."""

    def __init__(self) -> None:
        self._tokens: VisualSequence | None = None
        self._embeddings_BSD: Tensor | None = None
        self._rotary: RotaryPositions | None = None
        self._fed: list[Tensor] = []

    def read(
        self,
        tokens: VisualSequence,
        embeddings_BSD: Tensor,
        num_cached: int,
        rotary: RotaryPositions,
    ) -> None:
        """Take in a prompt, of which the tokens at positions 0..num_cached-1 leave entries."""
        self._tokens, self._rotary = tokens, rotary
        num_left = int((tokens.positions[0] < num_cached).sum())
        self._embeddings_BSD = embeddings_BSD[:, :num_left]

    def feed(self, fed_BQ: Tensor) -> None:
        """Take in tokens fed behind all before; the model answers after the last of them."""
        self._fed.append(fed_BQ)

    def relevance(self, model: Any, layers: Sequence[Any]) -> dict[int, Tensor]:
        """Relevance of the visual tokens before each of the decoder's ``layers``, float32 [B, N].

        The answer is the lead of the most likely word, summed over the words that were answered.
        ``model`` has ``model.language_model`` and ``lm_head``, as all of the library's have.
        """
        assert self._tokens is not None
        states: list[Tensor] = []
        with probing([layer.self_attn for layer in layers]), torch.enable_grad():
            with _noted(layers, states):
                hidden_BSD = model.model.language_model(**self._inputs(model)).last_hidden_state
            logits_BTV = model.lm_head(hidden_BSD[:, self._deciding])
            by_layer = relevance(lead(logits_BTV).sum(-1), states)
        visual_BN = self._tokens.separating[:, : self._tokens.num_visual]
        return {
            layer: rows_for_all(whole_BS[..., None], visual_BN)[..., 0]
            for layer, whole_BS in enumerate(by_layer)
        }

    @property
    def _deciding(self) -> list[int]:
        """Which tokens of prompt and feeds the model answers after."""
        assert self._embeddings_BSD is not None
        num_left = self._embeddings_BSD.shape[1]
        return [num_left + end - 1 for end in accumulate(fed.shape[1] for fed in self._fed)]

    def _inputs(self, model: Any) -> dict[str, Any]:
        """What a decoder reads to see prompt and feeds at once, as tensors with gradients."""
        assert self._embeddings_BSD is not None
        assert self._tokens is not None
        assert self._rotary is not None
        prompt_BSD, fed_BF = self._embeddings_BSD, torch.cat(self._fed, dim=1)
        fed_BFD = model.get_input_embeddings()(fed_BF.clone())
        positions_BS = self._tokens.positions[:, : prompt_BSD.shape[1]]
        behind_F = torch.arange(1, 1 + fed_BF.shape[1], device=fed_BF.device)
        positions_BF = positions_BS[:, -1:] + behind_F
        whole_BSD = torch.cat([prompt_BSD, fed_BFD], dim=1)
        whole_BS = torch.cat([positions_BS.expand(len(fed_BF), -1), positions_BF], dim=1)
        return {
            # No leaf: what counts operations by module cannot watch autograd.grad reach one.
            "inputs_embeds": whole_BSD.clone().requires_grad_().clone(),
            "position_ids": self._rotary(whole_BS),
            # Without a mask, positions with gaps would be taken for several sequences in one.
            "attention_mask": torch.ones(whole_BSD.shape[:2], device=whole_BSD.device),
            "use_cache": False,
        }


@contextmanager
def _noted(layers: Sequence[nn.Module], states: list[Tensor]) -> Iterator[None]:
    """Put what enters each layer inside the block into ``states``."""

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(note, with_kwargs=True).remove)
        yield
