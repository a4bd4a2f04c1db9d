"""Decoder language models whose key/value cache is compressed once the prompt has been read.

The prompt is read whole; then every layer's cache is cut to its budget; then the rest is fed
through the cut cache. The rest is a continuation that the methods have not seen, or, without one,
the prompt's last token, read a second time: its entry is dropped before compression, so that the
first answer token too is decided by the compressed cache.

Shapes: B sequences, T prompt tokens, Q tokens of a continuation, V words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from methods.attention._base import SparseAttention
from methods.backbones.base import Compression, Stage
from methods.backbones.cache_editor import why_keys_cannot_turn
from methods.backbones.editable import EditablePrompts
from methods.backbones.prompt_filter import PromptFilter
from methods.backbones.reading import DECODER_PLACES
from methods.base import Method
from methods.edit._base import CacheEdit
from methods.places import Place


class CausalLMBackbone(EditablePrompts):
    """A Hugging Face decoder with grouped-query attention and rotary positions."""

    places: ClassVar[tuple[Place, ...]] = ("kv", "prompt", "edit", *DECODER_PLACES)
    recorded: ClassVar[tuple[Place, ...]] = ("kv",)
    architectures: ClassVar[tuple[str, ...]] = (
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
    )
    model_class: ClassVar[str] = "AutoModelForCausalLM"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._filter: PromptFilter | None = None

    @classmethod
    def why_not(cls, config: dict[str, Any], method: Method) -> str | None:
        """Models that do not attend to the whole prompt.

        For edits also those whose keys cannot turn, for readers those with too few layers.
        """
        resolved = with_defaults(config)
        heads, kv_heads = resolved.num_attention_heads, resolved.num_key_value_heads
        if heads % kv_heads:
            return f"{heads} query heads cannot share {kv_heads} key/value heads evenly"
        if _slides(resolved):
            return (
                f"layers that see only the last {resolved.sliding_window} tokens hold a cache that "
                "is cut already"
            )
        if isinstance(method, SparseAttention):
            return _reads_all(method, resolved.num_hidden_layers)
        return why_keys_cannot_turn(resolved) if isinstance(method, CacheEdit) else None

    @classmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of decoder layers, each with its own cache."""
        return int(config["num_hidden_layers"])

    @classmethod
    def kv_bytes_per_token(cls, config: dict[str, Any], dtype: str) -> int:
        """Bytes of keys and values that one token takes in all layers together.

        ``dtype`` is the name of a floating torch type, such as ``float32`` or ``bfloat16``.
        """
        resolved = with_defaults(config)
        head_dim = getattr(resolved, "head_dim", None)
        if head_dim is None:
            head_dim = resolved.hidden_size // resolved.num_attention_heads
        values_per_layer = 2 * resolved.num_key_value_heads * head_dim
        element: torch.dtype = getattr(torch, dtype)
        return int(resolved.num_hidden_layers * values_per_layer * element.itemsize)

    @property
    def _decoder_layers(self) -> list[Any]:
        return list(self.model.base_model.layers)

    @torch.inference_mode()
    def generate(self, prompt_BT: Tensor, continuation_BQ: Tensor, num_new: int) -> Tensor:
        """Greedy answer, long [B, num_new]; ``continuation_BQ`` may be empty (Q = 0).

        Raises ValueError where nothing would be left to cache, FloatingPointError if a logit is
        not finite.
        """

        if self._drafter is not None:
            pairs = zip(torch.split(prompt_BT, 1), torch.split(continuation_BQ, 1), strict=True)
            return torch.cat([self._speculative(*pair, num_new) for pair in pairs])

        def answer() -> Tensor:
            with self._prompt_read(prompt_BT, continuation_BQ) as (cache, feed_BQ):
                return self._greedy(cache, feed_BQ, num_new)

        return self._foreseen(answer)

    def _speculative(self, prompt_1T: Tensor, continuation_1Q: Tensor, num_new: int) -> Tensor:
        def answer() -> Tensor:
            with self._prompt_read(prompt_1T, continuation_1Q) as (cache, feed_1Q):
                before_T = prompt_1T[0] if continuation_1Q.shape[1] else prompt_1T[0, :-1]
                return self._drafted(cache, feed_1Q, before_T.to(self.device), num_new)

        return self._foreseen(answer)

    @torch.inference_mode()
    def continuation_logits(self, prompt_BT: Tensor, continuation_BQ: Tensor) -> Tensor:
        """Logits after each continuation token, float [B, Q, V], or after the prompt, [B, 1, V]."""

        def answer() -> Tensor:
            with self._prompt_read(prompt_BT, continuation_BQ) as (cache, feed_BQ):
                return self._next_logits(cache, feed_BQ)

        return self._foreseen(answer)

    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """Shorten prompts, or whatever attaches to a decoder.

        See :meth:`methods.backbones.base.Backbone.attach`.
        """
        if stage.place == "prompt":
            return self._attach_filter(stage, seed, compression)
        return super().attach(stage, seed, compression)

    @contextmanager
    def _attach_filter(self, stage: Stage, seed: int, compression: Compression) -> Iterator[None]:
        """Shorten every prompt before it is read."""
        keep_ratio = stage.schedule.held(stage.keep_ratio, self.num_layers)[-1]
        prompt_filter = PromptFilter(stage.method, keep_ratio, seed, compression)
        with self._attached("_filter", prompt_filter):
            yield
        prompt_filter.require_effect()

    def _shortened(self, prompt_BT: Tensor) -> Tensor:
        if self._filter is None:
            return prompt_BT
        modules = [layer.self_attn for layer in self._decoder_layers]
        with self._unseen():
            return self._filter.shortened(self.model, modules, prompt_BT)

    def _prompt_read(
        self, prompt_BT: Tensor, continuation_BQ: Tensor
    ) -> AbstractContextManager[tuple[Any, Tensor]]:
        """The cache after reading the prompt, cut, and the tokens to feed next."""
        prompt_BT = self._shortened(prompt_BT.to(self.device))
        if self._editor is not None:
            self._editor.note(reused=0)
        return self._fed(
            prompt_BT, continuation_BQ.to(self.device), lambda cache: self._read(prompt_BT, cache)
        )


def with_defaults(config: dict[str, Any]) -> Any:
    """The configuration with the defaults of its model type filled in."""
    from transformers import AutoConfig  # here for the reason that Backbone.load gives

    return AutoConfig.for_model(**config)


def _reads_all(method: SparseAttention, num_layers: int) -> str | None:
    if all(map(method.reads_all, range(num_layers))):
        return f"{method.id()} reads the whole cache in each of the model's {num_layers} layers"
    return None


def _slides(config: Any) -> bool:
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return "sliding_attention" in layer_types
    return getattr(config, "sliding_window", None) is not None
