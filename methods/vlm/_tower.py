"""What the vision tower saw, looked up for the tokens that are still there.

Shapes: B examples, N current tokens, I images per example, P patches of an image, L tower layers.
"""

from __future__ import annotations

from math import ceil

from torch import Tensor

from methods.contexts import VisualContext


def at_origin(signal_BIP: Tensor, ctx: VisualContext) -> Tensor:
    """A signal of the original tokens at the current ones: [B, I, P] to [B, N].

    Trailing dimensions are kept: [B, I, P, D] becomes [B, N, D]. The result is float32.
    """
    flat = signal_BIP.flatten(1, 2).float()
    index = ctx.origin_BN.view(*ctx.origin_BN.shape, *(1,) * (flat.dim() - 2))
    return flat.gather(1, index.expand(-1, -1, *flat.shape[2:]))


def class_attention(ctx: VisualContext, layer: int) -> Tensor:
    """Attention from the class token in tower layer ``layer``, averaged over heads, [B, N]."""
    return at_origin(ctx.tower.cls_attention_LBIHP[layer].float().mean(2), ctx)


def received_attention(ctx: VisualContext, layer: int) -> Tensor:
    """Attention received from all patches of the same image in tower layer ``layer``, [B, N]."""
    return at_origin(ctx.tower.received_LBIP[layer], ctx)


def salience(ctx: VisualContext, layer: int) -> Tensor:
    """Attention from the class token or, where there is none, received from all patches, [B, N]."""
    return class_attention(ctx, layer) if ctx.tower.has_cls else received_attention(ctx, layer)


def mean_keys(ctx: VisualContext) -> Tensor:
    """Keys of the selected tower layer, averaged over heads, [B, N, D]."""
    return at_origin(ctx.tower.keys_LBIHPD[ctx.tower.selected].float().mean(2), ctx)


def joint_keys(ctx: VisualContext) -> Tensor:
    """Keys of the selected tower layer, heads side by side, [B, N, H D]."""
    keys_BIHPD = ctx.tower.keys_LBIHPD[ctx.tower.selected]
    return at_origin(keys_BIHPD.transpose(2, 3).flatten(3), ctx)


def layer_at(depth: float, num_layers: int) -> int:
    """Index of the tower layer at a share ``depth`` in [0, 1] of all layers; 1 is the last."""
    # A share such as 9 / 24 should name layer 9 of 24, whatever its last bit.
    return max(ceil(depth * num_layers - 1e-6) - 1, 0)
