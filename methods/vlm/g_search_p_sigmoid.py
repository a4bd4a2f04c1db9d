"""P-Sigmoid: many small cuts whose sizes follow a sigmoid over the depth.

"Accelerating Multimodal Large Language Models by Searching Optimal Vision Token Reduction"
(arXiv:2412.00556). Its finding: from the second layer on, all layers rank visual tokens alike by
attention. So the rank can be had early, and what remains is *how many* tokens each layer needs:
G-Search finds the fewest, layer by layer, that keep a calibration set's quality; P-Sigmoid finds,
under a budget, the parameters of a sigmoid over the depth by Bayesian optimisation. No official
code.

Here the sigmoid is the schedule ``sigmoid``, the method's home, and the optimisation is a sweep or
search over its ``steepness``; this file is the ranking at each cut. G-Search, which fits a budget
of its own to every layer, is not part of it.

Our reading, for only abstract and summaries of the paper were at hand: tokens are ranked by the
attention of the question's tokens in the previous layer, averaged over heads and tokens, because
the paper calls the method aware of the prompt; and the sigmoid's parametrisation (see
:class:`~methods.schedule.Sigmoid`).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import Paper, ScoringMethod
from methods.contexts import VisualContext
from methods.schedule import Schedule, Sigmoid
from methods.vlm._language import attention_from_text


class PSigmoid(ScoringMethod[VisualContext]):
    """Prunes layer by layer, by the question's attention."""

    paper: ClassVar[Paper | None] = Paper(
        title="Accelerating Multimodal Large Language Models by Searching Optimal Vision Token "
        "Reduction",
        arxiv="2412.00556",
        catalogue="g-search-p-sigmoid",
    )
    home: ClassVar[Schedule] = Sigmoid()

    def score(self, ctx: VisualContext) -> Tensor:
        """Attention from the question in the previous layer, averaged, [B, N]."""
        from_text_BQN = attention_from_text(ctx, self.id())
        return from_text_BQN[:, ctx.question_Q].mean(1)
