"""What a method may look at when it makes its W, one context per place where tokens are reduced.

Shapes: B sequences, N tokens that may be reduced, H heads, T query positions, G query heads that
share one key/value head, D channels of a head or of a residual stream, L layers, Q text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from methods.deferred import PerLayer, Resolving
from methods.places import Place


@dataclass(frozen=True, kw_only=True)
class TokenContext:
    """One reduction, wherever it happens.

    A method attaches at every place whose contexts have what it reads: ``places`` of the context
    class it is written for.

    ``sizes_BN`` (float) says how many original tokens each token stands for; ``num_keep`` is the
    budget, 1 <= num_keep < N; ``generator`` is the only source of randomness a method may use, a
    CPU generator seeded per trial, place, batch and layer.
    """

    places: ClassVar[tuple[Place, ...]] = ("vision", "vlm", "kv", "prompt")

    sizes_BN: Tensor
    num_keep: int
    layer: int
    num_layers: int
    generator: torch.Generator

    @property
    def batch(self) -> int:
        """Number of independent sequences B."""
        return self.sizes_BN.shape[0]

    @property
    def num_in(self) -> int:
        """Number of tokens N that may be reduced."""
        return self.sizes_BN.shape[1]

    @property
    def compared(self) -> Tensor:
        """What tells how similar two tokens are, [B, N, D]. Raises TypeError for words."""
        raise TypeError(f"tokens of a {type(self).__name__} cannot be compared")

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.sizes_BN.device


@dataclass(frozen=True, kw_only=True)
class FeatureContext(TokenContext):
    """Tokens with a feature vector each, ``hidden_BND``; what all visual places have in common.

    ``future_BN`` says how relevant each token is, at this very place, for what the uncompressed
    model answers (:mod:`methods.backbones.relevance`), for methods that declare ``needs_future``
    and where the answer is known; a merged token has the relevance of its parts together.
    """

    places: ClassVar[tuple[Place, ...]] = ("vision", "vlm")

    hidden_BND: Tensor
    future_BN: Tensor | None = None

    @property
    def compared(self) -> Tensor:
        """What tokens are compared by: their features, [B, N, D]."""
        return self.hidden_BND


@dataclass(frozen=True, kw_only=True)
class VisionContext(FeatureContext):
    """Patch tokens between attention and MLP of one block. Protected tokens (CLS) are held aside.

    ``hidden_BND`` is the residual stream after attention; ``keys_BHND`` and ``queries_BHND`` are
    that block's own, ``scaling`` multiplies their products before softmax. ``cls_attention_BHN`` is
    the class token's attention over the patches, taken from a softmax over all tokens of the block
    (so its rows sum to at most 1), or None where the model has no class token.

    ``attention_BHMM`` is the block's attention over all M = 1 + N tokens, class token first, for
    methods that declare ``needs_attention``; ``next_attention_BHMM`` is the same of the next block,
    computed one step ahead on ``hidden_BND``, for methods that declare ``needs_next_attention``
    (absent in the last block). ``values_BHND`` are the block's values. ``cls_hidden_BD``,
    ``cls_query_BHD`` and ``cls_key_BHD`` are the class token's own, None where there is none.
    ``grid`` is (rows, columns) of the patches, or None once tokens were
    reduced and no longer form one. ``memory`` lives as long as the ``compressed`` block, across
    batches: for methods whose paper keeps a state over the stream of inputs.
    """

    places: ClassVar[tuple[Place, ...]] = ("vision",)

    keys_BHND: Tensor
    queries_BHND: Tensor
    cls_attention_BHN: Tensor | None
    scaling: float = 1.0
    attention_BHMM: Tensor | None = None
    next_attention_BHMM: Tensor | None = None
    values_BHND: Tensor | None = None
    cls_hidden_BD: Tensor | None = None
    cls_query_BHD: Tensor | None = None
    cls_key_BHD: Tensor | None = None
    grid: tuple[int, int] | None = None
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CacheContext(TokenContext):
    """One layer's key/value cache after the prompt was read; B counts (sequence, KV head) pairs.

    ``keys_BND`` and ``values_BND`` are the entries of prompt positions 0..N-1, keys after rotary
    embedding. ``queries_BGTD`` are the queries of prompt positions 0..T-1, after rotary embedding,
    of the G query heads that share this key/value head. T is N, or N + 1 where the prompt's last
    token has been read but its own entry is appended only after compression. ``scaling`` multiplies
    query-key products before softmax. ``num_heads`` is the number of key/value heads; B runs over
    sequences first and heads last, so ``view(-1, num_heads, ...)`` separates the two.

    ``future_BN`` is the attention that the entries will get from everything that the uncompressed
    model reads and writes after the prompt, for methods that declare ``needs_future``.
    """

    places: ClassVar[tuple[Place, ...]] = ("kv",)

    keys_BND: Tensor
    values_BND: Tensor
    queries_BGTD: Tensor
    scaling: float
    num_heads: int = 1
    future_BN: Tensor | None = None

    @property
    def compared(self) -> Tensor:
        """What entries are compared by: their keys, [B, N, D]."""
        return self.keys_BND


@dataclass(frozen=True)
class VisualLayout:
    """How the visual tokens of one example came about; the same for all examples of a batch.

    ``grid`` is (rows, columns) of one image's tokens; images follow each other. ``kind`` says what
    they are: one image, several pictures in context, the frames of a video, or a thumbnail followed
    by the crops of the same picture in reading order, ``crop_grid`` (rows, columns) of them.
    """

    num_images: int
    grid: tuple[int, int]
    kind: Literal["single", "several", "frames", "crops"] = "single"
    crop_grid: tuple[int, int] | None = None

    @property
    def per_image(self) -> int:
        """Tokens of one image."""
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        """Tokens of all images together."""
        return self.num_images * self.per_image


@dataclass(frozen=True, kw_only=True)
class VisualContext(Resolving, FeatureContext):
    """Visual tokens of a vision-language model; ``layer`` says how far they have come.

    Layer 0 is the doorstep: the tokens leave the projector and no language layer has seen them.
    Layer l > 0 is the boundary before language layer l, so that l layers have been run (FastV's K
    is l). ``num_layers`` counts the language layers, so that ``layer`` runs from 0 to
    ``num_layers`` - 1.

    ``hidden_BND`` are the tokens themselves: projected features at the doorstep, hidden states
    later. ``origin_BN`` (long) are their positions 0..I*P-1 among the original visual tokens (for a
    merged token, of its heaviest part), increasing; ``layout`` describes the original ones.
    ``text_BQD`` are the other tokens' embeddings at the doorstep, hidden states later, in order;
    ``question_Q`` (bool) marks those behind the last image. ``tower`` is what the vision tower saw.

    Inside the language model ``attention_BHTN`` is the previous layer's attention from all T tokens
    of the sequence to the visual tokens, after softmax over all visible tokens; ``visual_T`` (bool)
    says which of the T are visual; both None at the doorstep. Rows are the N visual tokens in order
    and then the text tokens in order, because examples of a batch may have kept their tokens at
    different places between the texts; the last row is the prompt's last token. Attention and keys
    are computed when they are read.
    """

    places: ClassVar[tuple[Place, ...]] = ("vlm",)

    origin_BN: Tensor
    layout: VisualLayout
    text_BQD: Tensor
    question_Q: Tensor
    tower: TowerView
    images_before_Q: Tensor | None = None
    """How many images stand before each text token (long); None where prompts do not tell."""
    attention_BHTN: Tensor | None = None
    text_attention_BHQN: Tensor | None = None
    """Its rows of text tokens alone, for less; None: take them from the whole."""
    visual_T: Tensor | None = None
    keys_BHND: Tensor | None = None
    """Keys of the previous language layer, after rotary embedding; None at the doorstep."""
    memory: dict[str, Any] = field(default_factory=dict)
    """Lives for one forward pass, from doorstep to last layer: for methods with several stages."""


@dataclass(frozen=True, kw_only=True)
class TowerView:
    """The vision tower's view of the original visual tokens, P per image, I images per example.

    ``hidden_BIPD`` are its selected output features before projection. ``cls_attention_LBIHP`` is
    every layer's attention from the class token to the patches and ``received_LBIP`` every layer's
    attention received by each patch from all patches, averaged over heads and summed over queries;
    rows of a softmax over all 1 + P tokens.
    ``keys_LBIHPD`` are the keys of all layers. What has an axis L may compute a layer when it is
    read: index it by one layer, of those that the method declares (``tower_layers``).
    ``pixels_BICHW`` are the images themselves.

    Where a visual token is made of several patches, as in Qwen2.5-VL, P counts the visual tokens:
    ``hidden_BIPD`` holds their patches side by side, the other fields are means over them; where a
    layer attends within windows, so do its rows. A tower without a class token (``has_cls``) raises
    InfeasibleError when ``cls_attention_LBIHP`` is read; methods that declare ``needs_cls`` are
    impossible there.
    """

    hidden_BIPD: Tensor
    cls_attention_LBIHP: Tensor | PerLayer
    received_LBIP: Tensor | PerLayer
    keys_LBIHPD: Tensor | PerLayer
    pixels_BICHW: Tensor
    selected: int
    """Index into L of the layer whose output is projected."""
    has_cls: bool = True

    @property
    def num_layers(self) -> int:
        """L, of the whole tower."""
        return len(self.received_LBIP)
