"""Vision transformers of the ``ViTForImageClassification`` family, compressed inside each block.

Tokens are reduced between attention and MLP, with that block's own keys and queries: the place that
ToMe (arXiv:2210.09461), EViT (arXiv:2202.07800) and PiToMe (arXiv:2405.16148) describe. Hooks
cannot reach it, because the residual is held inside the layer's ``forward``. So inside a
``compressed`` block each layer's ``forward`` is replaced by one that does the same operations in
the same order and reduces in between.

Shapes: B images, N patches, 1 + N tokens with the class token first, H heads, D channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import ViTForImageClassification
from typing_extensions import override

from methods.backbones import attention_tap
from methods.backbones.base import Backbone, Compression, VacuousCompressionError, layer_generator
from methods.base import Method, VisionContext
from methods.registry import Place
from methods.schedule import Schedule, num_held

NUM_PROTECTED = 1
"""The class token comes first and is never reduced."""


class ViTBackbone(Backbone):
    """A Hugging Face ``ViTForImageClassification``."""

    place: ClassVar[Place] = "vision"
    architectures: ClassVar[tuple[str, ...]] = ("ViTForImageClassification",)

    @classmethod
    def load(cls, path: str, revision: str | None, dtype: torch.dtype) -> ViTBackbone:
        """Open a model directory or hub id."""
        model = ViTForImageClassification.from_pretrained(
            path,
            revision=revision or "main",
            dtype=dtype,
            attn_implementation=attention_tap.NAME,
            use_safetensors=True,
        )
        return cls(model)

    @override
    @classmethod
    def why_not(cls, config: dict[str, Any], method: type[Method[Any]]) -> str | None:
        """Every vision method fits: the family has a class token, keys and queries."""
        return None

    @classmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of transformer blocks."""
        return int(config["num_hidden_layers"])

    @property
    def num_layers(self) -> int:
        """Number of transformer blocks."""
        return len(self._layers)

    @property
    def _layers(self) -> list[Any]:
        return list(self.model.vit.layers)

    @torch.no_grad()
    def logits(self, pixels_BCHW: Tensor) -> Tensor:
        """Class logits, float [B, classes]. Raises FloatingPointError if any is not finite."""
        logits: Tensor = self.model(pixels_BCHW.to(self.device, self.model.dtype)).logits.float()
        if not logits.isfinite().all():
            raise FloatingPointError("the model's logits are not finite")
        return logits

    @contextmanager
    def compressed(
        self, method: Method[Any], schedule: Schedule, keep_ratio: float, seed: int
    ) -> Iterator[Compression]:
        """Reduce patches in every forward pass inside the block; see :class:`Backbone`."""
        held = schedule.held(keep_ratio, self.num_layers)
        forward_pass = _ForwardPass(method, held, seed)
        with ExitStack() as stack:
            stack.enter_context(
                attention_tap.attach((layer.attention for layer in self._layers), forward_pass.tap)
            )
            for index, layer in enumerate(self._layers):
                stack.callback(_restore_forward, layer)
                layer.forward = partial(forward_pass.layer, layer, index)
            yield forward_pass.compression
        forward_pass.require_effect()


class _ForwardPass:
    """State of the forward pass under way, reset when the first layer is entered."""

    def __init__(self, method: Method[Any], held: tuple[float, ...], seed: int) -> None:
        self.method = method
        self.held = held
        self.seed = seed
        self.compression = Compression()
        self.number = -1
        self.num_patches = 0
        self.without_effect = 0
        self.sizes_BN: Tensor | None = None
        self.keys_BHND: Tensor | None = None
        self.queries_BHND: Tensor | None = None

    def layer(
        self, layer: Any, index: int, hidden_BND: Tensor, attention_mask: Any = None, **kwargs: Any
    ) -> Tensor:
        """``ViTLayer.forward`` of transformers 5.23 with the reduction before the MLP."""
        if index == 0:
            self._begin(hidden_BND)
        self.compression.tokens_per_layer.append(hidden_BND.shape[1])
        self.compression.reads += hidden_BND.shape[1] < NUM_PROTECTED + self.num_patches
        normed_BND = layer.layernorm_before(hidden_BND)
        bias = self._size_bias()
        attended_BND, _ = layer.attention(
            normed_BND, attention_mask if bias is None else bias.to(normed_BND.dtype), **kwargs
        )
        hidden_BND = layer.dropout(attended_BND) + hidden_BND
        num_keep = num_held(self.held[index], self.num_patches)
        if num_keep < hidden_BND.shape[1] - NUM_PROTECTED:
            hidden_BND = self._reduce(layer, index, hidden_BND, num_keep)
        self.keys_BHND = self.queries_BHND = None
        out_BND: Tensor = layer.dropout(layer.mlp(layer.layernorm_after(hidden_BND))) + hidden_BND
        return out_BND

    def tap(
        self, _module: nn.Module, query: Tensor, key: Tensor, _value: Tensor, mask: Tensor | None
    ) -> Tensor | None:
        """Keep the block's queries and keys until its reduction is done."""
        self.queries_BHND, self.keys_BHND = query, key
        return mask

    def require_effect(self) -> None:
        """Raise if compression was asked for and a forward pass did without."""
        self._judge_pass()
        if self.without_effect:
            raise VacuousCompressionError(
                f"{self.without_effect} of {self.number + 1} forward passes kept all "
                f"{self.num_patches} patches, or nothing read what was kept, although the schedule "
                f"asks for {min(self.held):.4g} of them"
            )

    def _begin(self, hidden_BND: Tensor) -> None:
        self._judge_pass()
        self.number += 1
        self.num_patches = hidden_BND.shape[1] - NUM_PROTECTED
        self.sizes_BN = None
        self.compression.tokens_per_layer.clear()
        self.compression.transforms.clear()
        self.compression.reads = 0

    def _judge_pass(self) -> None:
        asked = self.number >= 0 and min(self.held) < 1
        happened = self.compression.transforms and self.compression.reads
        self.without_effect += bool(asked and not happened)

    def _size_bias(self) -> Tensor | None:
        """log(size) per token as an additive mask [B, 1, 1, 1 + N]; None while all sizes are 1."""
        if self.sizes_BN is None or not self.method.proportional_attention:
            return None
        bias_BN = nn.functional.pad(self.sizes_BN.log(), (NUM_PROTECTED, 0))
        return bias_BN[:, None, None]

    def _reduce(self, layer: Any, index: int, hidden_BND: Tensor, num_keep: int) -> Tensor:
        with self.compression.timed(hidden_BND.device):
            cls_B1D, patches_BND = hidden_BND[:, :NUM_PROTECTED], hidden_BND[:, NUM_PROTECTED:]
            sizes_BN = self.sizes_BN
            if sizes_BN is None:
                sizes_BN = torch.ones(patches_BND.shape[:2], device=hidden_BND.device)
            context = self._context(layer, index, patches_BND, sizes_BN, num_keep)
            transform = self.method.transform(context)
            if transform.merges or self.sizes_BN is not None:
                self.sizes_BN = transform.sizes(sizes_BN)
            self.compression.transforms[index] = transform
            return torch.cat([cls_B1D, transform(patches_BND)], dim=1)

    def _context(
        self, layer: Any, index: int, patches_BND: Tensor, sizes_BN: Tensor, num_keep: int
    ) -> VisionContext:
        assert self.keys_BHND is not None
        assert self.queries_BHND is not None
        return VisionContext(
            sizes_BN=sizes_BN,
            num_keep=num_keep,
            layer=index,
            num_layers=len(self.held),
            generator=layer_generator(self.seed, self.number, index),
            hidden_BND=patches_BND,
            keys_BHND=self.keys_BHND[:, :, NUM_PROTECTED:],
            queries_BHND=self.queries_BHND[:, :, NUM_PROTECTED:],
            cls_attention_BHN=self._cls_attention(layer) if self.method.needs_cls else None,
        )

    def _cls_attention(self, layer: Any) -> Tensor:
        """The class token's attention over the patches, one query row instead of N x N."""
        assert self.keys_BHND is not None
        assert self.queries_BHND is not None
        cls_query_BH1D = self.queries_BHND[:, :, :NUM_PROTECTED]
        logits_BH1N = cls_query_BH1D @ self.keys_BHND.mT * layer.attention.scaling
        bias = self._size_bias()
        if bias is not None:
            logits_BH1N = logits_BH1N + bias
        attention_BH1N: Tensor = logits_BH1N.softmax(-1)
        return attention_BH1N[:, :, 0, NUM_PROTECTED:]


def _restore_forward(layer: nn.Module) -> None:
    vars(layer).pop("forward", None)
