"""Relevance oracle: keep the tokens on which the uncompressed model's own answer rests.

A control, from no paper: what a choice of visual tokens can hope for that knows the outcome, in
vision towers and in vision-language models. Every input is read twice. The first time nothing is
compressed at this place, the model answers, and the gradient of its answer is taken with respect to
the tokens' states wherever the method could cut. The second time, the tokens are kept for which
gradient times state is longest (:mod:`methods.backbones.relevance`), merged ones counting all of
their parts. What the answer is, the backbone says: how far the most likely class or word is ahead
of the next, over all turns of a dialogue; for an encoder the length of its embedding; for a painter
of images the highest channel of every pixel.

No right answer is looked at: the oracle knows what the uncompressed model does, not what it ought
to do, so that where the model is wrong it is as happy to stay wrong.

What it is not: an upper bound. Relevance is of first order and of one token at a time, so that of
several tokens that say the same all are kept or none. It only prunes: methods that merge can be
better, and are in dense prediction, where every patch is read. Where a model's mistakes come from
distracting tokens, a method that happens to drop them is more often right than the oracle.

The idea that explanations of an uncompressed pass tell which tokens matter is that of "Generic
Token Compression in Multimodal Large Language Models from an Explainability Perspective"
(catalogue: explain-token-compression), which trains a network to predict them; this is no
implementation of it. Nothing that serves a model could know the outcome, so that the method takes
no place on a frontier over what it saves; its own time includes the rehearsal.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from methods.base import InfeasibleError, ScoringMethod
from methods.contexts import FeatureContext


class RelevanceOracle(ScoringMethod[FeatureContext]):
    """Keep what the uncompressed model's answer depends on most."""

    needs_future: ClassVar[bool] = True

    @property
    def simulated(self) -> frozenset[str]:
        """Everything that fewer tokens save."""
        return frozenset({"tokens", "flops", "kv", "kv_bytes", "attended"})

    def score(self, ctx: FeatureContext) -> Tensor:
        """Relevance of every token. Raises InfeasibleError where nobody rehearsed."""
        if ctx.future_BN is None:
            raise InfeasibleError(
                "the relevance oracle must know what the model answers, and here nobody tells: it "
                "works on towers whose output is the answer and before the layers of a decoder"
            )
        return ctx.future_BN
