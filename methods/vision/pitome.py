"""PiToMe: merge tokens out of large clusters, protect isolated ones.

"Accelerating Transformers with Spectrum-Preserving Token Merging" (arXiv:2405.16148). Official
code: github.com/hchautran/PiToMe (``algo/pitome/merge.py``). A token's energy is high where many
tokens resemble it. The 2R tokens with the highest energy may be merged, all others are protected;
in order of energy they are split alternately into A and B, and every token of A is merged into its
most similar token of B (cosine of the block's keys, averaged over heads), weighted by size.

Where we differ, or the paper and its code do:

- The energy of token i is the mean over all tokens j, itself included, of ELU(cos(i, j) - margin),
  as in the official code for vision; eq. 4 of the paper adds the margin back where the cosine
  exceeds it.
- The margin is ``margin * (1 - layer / num_layers)``. The official code uses 0.75 for image
  classifiers (our default) and 0.9 for most image-text models, which is also the paper's formula.
- The same algorithm runs in every block. The official code for DeiT and MAE runs, in half of the
  blocks, a variant that orders by energy but protects nobody.
- Later blocks add log(size) to attention logits, as the paper describes; the official blocks for
  timm and DeiT leave that off.
- A cut of more than half of the tokens repeats the matching on the merged tokens with the same
  block's keys. A round that removes half protects nobody (with an odd count, one token); a smaller
  ``round_share`` keeps the protection in deep cuts. The official code only removes up to half.
- Surviving tokens stay in their original order; equal energies are settled for the earlier one.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import elu

from methods.base import Paper
from methods.contexts import VisionContext
from methods.transform import rows_of
from methods.vision._rounds import Round, RoundMerging, merge_into_survivors


class PiToMe(RoundMerging):
    """Energy-ordered token merging that protects isolated tokens."""

    paper: ClassVar[Paper | None] = Paper(
        title="Accelerating Transformers with Spectrum-Preserving Token Merging",
        arxiv="2405.16148",
        code="https://github.com/hchautran/PiToMe",
        catalogue="pitome",
    )

    margin: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Cosine above which two tokens count as near, in the first layer; it falls "
        "linearly with depth.",
    )
    alpha: float = Field(
        default=1.0,
        gt=0,
        description="Energy that an infinitely distant token would take away (ELU's alpha).",
    )

    def match(self, ctx: VisionContext, now: Round) -> Tensor:
        """Energy-ordered matching."""
        cosines_BMM = now.cosines()
        energy_BM = self.energy(cosines_BMM, ctx.layer, ctx.num_layers)
        return energy_ordered_matching(cosines_BMM, energy_BM, now.num_remove)

    def energy(self, cosines_BMM: Tensor, layer: int, num_layers: int) -> Tensor:
        """Energy of every token in (-alpha, 1], [B, M]; high inside large clusters."""
        margin = self.margin * (1 - layer / num_layers)
        return elu(cosines_BMM - margin, alpha=self.alpha).mean(-1)


def energy_ordered_matching(cosines_BMM: Tensor, energy_BM: Tensor, num_remove: int) -> Tensor:
    """Output row of every token after ``num_remove`` of high energy were merged, [B, M]."""
    mergeable_B2R = energy_BM.argsort(dim=1, descending=True, stable=True)[:, : 2 * num_remove]
    a_BR, b_BR = mergeable_B2R[:, ::2], mergeable_B2R[:, 1::2]
    num_tokens = energy_BM.shape[1]
    a_to_b_BRR = rows_of(cosines_BMM, a_BR).gather(2, b_BR[:, None].expand(-1, num_remove, -1))
    partner_BR = b_BR.gather(1, a_to_b_BRR.argmax(-1))
    return merge_into_survivors(a_BR, partner_BR, num_tokens)
