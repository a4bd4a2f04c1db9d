"""Shortens prompts before the language model reads them.

Shapes: B sequences, T prompt tokens, N = T - 1 tokens that may go, H query heads.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones import attention_tap
from methods.backbones.attention_tap import AttentionCall
from methods.backbones.base import Compression, VacuousCompressionError, layer_generator
from methods.base import InfeasibleError, TokenMethod
from methods.prompt._base import PromptContext
from methods.schedule import num_held


class PromptFilter:
    """Chooses the tokens of every prompt read inside one ``compressed`` block."""

    def __init__(
        self,
        method: TokenMethod[Any],
        keep_ratio: float,
        seed: int,
        compression: Compression,
    ) -> None:
        self.method = method
        self.keep_ratio = keep_ratio
        self.seed = seed
        self.compression = compression
        self.number = -1
        self.without_effect = 0

    def shortened(self, model: Any, modules: list[nn.Module], prompt_BT: Tensor) -> Tensor:
        """The prompt that is left, long [B, K + 1]; its last token is the last of the original.

        Raises InfeasibleError if the method mixes tokens.
        """
        self.number += 1
        num_in = prompt_BT.shape[1] - 1
        num_keep = num_held(self.keep_ratio, num_in)
        if num_keep >= num_in:
            self.without_effect += 1
            return prompt_BT
        with self.compression.timed(prompt_BT.device):
            transform = self.method.transform(self._context(model, modules, prompt_BT, num_keep))
        if transform.merges:
            raise InfeasibleError(f"{self.method.id()} mixes tokens; words cannot be mixed")
        self.compression.transforms["prompt"] = {0: transform}
        kept_BK = transform.cols.gather(1, transform.rows.argsort(dim=1))
        return torch.cat([prompt_BT.gather(1, kept_BK), prompt_BT[:, -1:]], dim=1)

    @property
    def _drawn(self) -> int:
        """Number of the prompt under way; a rehearsal and what it foresees are one prompt."""
        return self.number - self.compression.rehearsals

    def require_effect(self) -> None:
        """Raise if a prompt went by whole although fewer tokens were asked for."""
        if self.keep_ratio < 1 and (self.without_effect or self.number < 0):
            raise VacuousCompressionError(
                f"{self.without_effect} of {self.number + 1} prompts kept every token, although "
                f"{self.keep_ratio:.4g} of them were asked for"
            )

    def _context(
        self, model: Any, modules: list[nn.Module], prompt_BT: Tensor, num_keep: int
    ) -> PromptContext:
        return PromptContext(
            sizes_BN=torch.ones(prompt_BT[:, :-1].shape, device=prompt_BT.device),
            num_keep=num_keep,
            layer=0,
            num_layers=len(modules),
            generator=layer_generator(self.seed, "prompt", self._drawn, 0),
            tokens_BN=prompt_BT[:, :-1],
            view=_ModelsView(model, modules, prompt_BT),
        )


class _ModelsView:
    def __init__(self, model: Any, modules: list[nn.Module], prompt_BT: Tensor) -> None:
        self.model = model
        self.modules = modules
        self.prompt_BT = prompt_BT

    def surprisal(self) -> Tensor:
        return self._surprisal

    @cached_property
    def _surprisal(self) -> Tensor:
        logits_BTV = self.model(self.prompt_BT[:, :-1], use_cache=False).logits.float()
        log_probabilities = logits_BTV[:, :-1].log_softmax(-1)
        chosen = log_probabilities.gather(2, self.prompt_BT[:, 1:-1, None])[..., 0]
        return nn.functional.pad(-chosen, (1, 0))

    def last_query_logits(self, layer: int) -> Tensor:
        if not 0 <= layer < len(self.modules):
            raise InfeasibleError(
                f"layer {layer} does not exist: the model has {len(self.modules)} layers"
            )
        module: Any = self.modules[layer]
        seen: list[AttentionCall] = []

        def look(_: nn.Module, call: AttentionCall) -> AttentionCall:
            seen.append(call)
            raise _SeenEnough

        with attention_tap.attach([module], look), suppress(_SeenEnough):
            self.model.base_model(self.prompt_BT, use_cache=False)
        query_BHD, key_BKND = seen[0].query_BHTD[:, :, -1], seen[0].key_BKND[:, :, :-1]
        groups = query_BHD.shape[1] // key_BKND.shape[1]
        keys_BHND = key_BKND.repeat_interleave(groups, dim=1)
        logits_BHN: Tensor = (keys_BHND @ query_BHD[..., None])[..., 0] * module.scaling
        return logits_BHN


class _SeenEnough(Exception):  # noqa: N818 - no error: the later layers are not needed
    pass
