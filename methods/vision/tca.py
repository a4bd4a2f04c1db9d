"""TCA: condense tokens under the eyes of class tokens remembered from earlier images.

"Is Less More? Exploring Token Condensation as Training-free Test-time Adaptation"
(arXiv:2410.14729). Official code: github.com/Jo-wang/TCA (``clip/model.py``, ``clip/utils.py``,
``runner.py``). A reservoir keeps class tokens of the test images seen so far. The one most similar
to the present class token joins the block's attention as an anchor of the domain, and the class
token's attention, with the anchor in its softmax, sorts the patches: the most attended stay, the
ambiguous next are gathered around a few centres (coreset averaging: greedy k-centers, members
weighted by the inverse of their distance), the rest is fused into one token.

What is left out:

- The correction of CLIP's logits by their affinity to the reservoir, which needs class names.
- The reservoir's classes. The official one keeps three samples per predicted class, by low entropy
  of the prediction and low similarity to each other. In here no prediction is known: one reservoir
  for all, by low similarity alone, as many class tokens as ``reservoir_size``.
- The anchor's value, which in the official code also changes the hidden states.

Where we differ besides:

- Images of one batch see the reservoir as earlier batches left it; the official code goes image by
  image. The reservoir holds each layer's class token after attention, not before.
- The official code keeps all but three times the pruned number of tokens, gathers two thirds of
  the others and fuses one third. These proportions are kept; the budget counts the centres and the
  fused token, and with budgets of less than ``2 * num_centres + 1`` there are fewer centres.
- The fused token is the attention-weighted *average*, where the official code takes the sum.
- K-centers start at the most attended ambiguous token; the official code starts at random.

As in the official code, attention is averaged over heads; the ranks within heads that it averages
as well are not used there either.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from methods.base import Paper, ScoringMethod
from methods.contexts import VisionContext
from methods.schedule import Progressive, Schedule
from methods.transform import TokenTransform
from methods.vision._class_attention import class_attention
from methods.vision._clusters import farthest_first, nearest_centre


class TCA(ScoringMethod[VisionContext]):
    """Keeps, gathers and fuses patches by an attention that remembers the stream."""

    paper: ClassVar[Paper | None] = Paper(
        title="Is Less More? Exploring Token Condensation as Training-free Test-time Adaptation",
        arxiv="2410.14729",
        code="https://github.com/Jo-wang/TCA",
        catalogue="tca",
    )
    home: ClassVar[Schedule] = Progressive()
    needs_cls: ClassVar[bool] = True

    num_centres: int = Field(
        default=4, ge=0, description="Tokens that the ambiguous patches are gathered into."
    )
    reservoir_size: int = Field(
        default=32, ge=0, description="Class tokens of earlier images that every layer remembers."
    )

    def score(self, ctx: VisionContext) -> Tensor:
        """Class-token attention beside the nearest remembered class token, [B, N], in [0, 1]."""
        anchors_BHD = nearest_anchors(ctx)
        if anchors_BHD is None:
            return class_attention(ctx)
        assert ctx.cls_query_BHD is not None
        assert ctx.cls_key_BHD is not None
        others_BH2D = torch.stack([anchors_BHD, ctx.cls_key_BHD.float()], 2)
        query_BHD1 = ctx.cls_query_BHD.float()[..., None]
        logits_BHM1 = torch.cat([others_BH2D @ query_BHD1, ctx.keys_BHND.float() @ query_BHD1], 2)
        logits_BHM1 = logits_BHM1 * ctx.scaling
        attention_BHM: Tensor = logits_BHM1[..., 0].softmax(-1)
        return attention_BHM[..., 2:].mean(1)

    def transform(self, ctx: VisionContext) -> TokenTransform:
        """Rows: kept patches in their original order, centres, the fused token."""
        attention_BN = self.score(ctx)
        remember(ctx, self.reservoir_size)
        num_centres = min(self.num_centres, (ctx.num_keep - 1) // 2)
        num_kept = ctx.num_keep - 1 - num_centres
        num_gathered = _num_gathered(ctx.num_in - num_kept, num_centres)
        order_BN = attention_BN.argsort(dim=1, descending=True, stable=True)
        kept, gathered, _ = order_BN.tensor_split((num_kept, num_kept + num_gathered), dim=1)

        rows_BN = torch.full_like(order_BN, ctx.num_keep - 1)
        own_rows = torch.arange(num_kept, device=ctx.device).expand(ctx.batch, -1)
        rows_BN.scatter_(1, kept.sort(1).values, own_rows)
        weights_BN = attention_BN.clamp_min(torch.finfo(attention_BN.dtype).tiny)
        if num_gathered:
            clusters, weights = coreset_averaging(_at(ctx.hidden_BND, gathered), num_centres)
            rows_BN.scatter_(1, gathered, num_kept + clusters)
            weights_BN = weights_BN.scatter(1, gathered, weights)
        return TokenTransform.merge(rows_BN, weights_BN, ctx.num_keep)


def coreset_averaging(tokens_BGD: Tensor, num_centres: int) -> tuple[Tensor, Tensor]:
    """Cluster (long, 0..num_centres-1) and weight of every token, [B, G] both.

    A centre weighs 1, a member the inverse of its distance to the centre.
    """
    distances_BGG = torch.cdist(tokens_BGD.float(), tokens_BGD.float())
    first_B = torch.zeros(len(tokens_BGD), dtype=torch.long, device=tokens_BGD.device)
    centres_BC = farthest_first(distances_BGG, first_B, num_centres)
    clusters_BG = nearest_centre(distances_BGG, centres_BC)
    own_BG1 = centres_BC.gather(1, clusters_BG)[..., None]
    distance_BG = distances_BGG.gather(2, own_BG1)[..., 0].scatter(1, centres_BC, 0.0)
    weights_BG = distance_BG.clamp_min(1e-8).reciprocal().where(distance_BG > 0, 1.0)
    return clusters_BG, weights_BG


def nearest_anchors(ctx: VisionContext) -> Tensor | None:
    """Keys [B, H, D] of the remembered class tokens most similar to the present ones, if any."""
    reservoir: dict[str, Any] = ctx.memory.get(_name(ctx), {})
    if not reservoir:
        return None
    assert ctx.cls_hidden_BD is not None
    cosines_BP = normalize(ctx.cls_hidden_BD.float(), dim=-1) @ reservoir["directions_PD"].T
    keys_BHD: Tensor = reservoir["keys_PHD"][cosines_BP.argmax(1)]
    return keys_BHD


def remember(ctx: VisionContext, reservoir_size: int) -> None:
    """Put the class tokens into the layer's reservoir; the most redundant have to leave."""
    assert ctx.cls_hidden_BD is not None
    assert ctx.cls_key_BHD is not None
    directions_PD = normalize(ctx.cls_hidden_BD.float(), dim=-1)
    keys_PHD = ctx.cls_key_BHD.float()
    reservoir: dict[str, Any] = ctx.memory.get(_name(ctx), {})
    if reservoir:
        directions_PD = torch.cat([reservoir["directions_PD"], directions_PD])
        keys_PHD = torch.cat([reservoir["keys_PHD"], keys_PHD])
    diverse_R = diverse(directions_PD, reservoir_size)
    if len(diverse_R):
        ctx.memory[_name(ctx)] = {
            "directions_PD": directions_PD[diverse_R],
            "keys_PHD": keys_PHD[diverse_R],
        }


def diverse(directions_PD: Tensor, size: int) -> Tensor:
    """At most ``size`` indices, ascending: whoever is most similar to the others leaves first."""
    left_P = torch.arange(len(directions_PD), device=directions_PD.device)
    cosines_PP = (directions_PD @ directions_PD.T).fill_diagonal_(0)
    while len(left_P) > size:
        redundant = cosines_PP[left_P][:, left_P].sum(1).argmax()
        left_P = left_P[torch.arange(len(left_P), device=left_P.device) != redundant]
    return left_P


def _num_gathered(num_others: int, num_centres: int) -> int:
    """Two thirds of the others, at least one per centre, at least one left to fuse."""
    if num_centres == 0:
        return 0
    return min(max(num_centres, round(num_others * 2 / 3)), num_others - 1)


def _name(ctx: VisionContext) -> str:
    return f"tca layer {ctx.layer}"


def _at(x_BND: Tensor, indices_BK: Tensor) -> Tensor:
    return x_BND.gather(1, indices_BK[..., None].expand(-1, -1, x_BND.shape[2]))
