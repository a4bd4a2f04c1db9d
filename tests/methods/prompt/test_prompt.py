"""Prompt filters, each against its paper's rule written out plainly."""

import pytest
import torch
from pydantic import ValidationError

from methods.prompt.gemfilter import GemFilter
from methods.prompt.selective_context import SelectiveContext
from tests.methods.contexts import Shape, prompt_context


def test_gemfilter_sums_over_heads_and_averages_neighbours():
    ctx = prompt_context(Shape(num_in=12, num_keep=4, heads=3))
    scores_BN = GemFilter(layer=0, kernel_size=3).score(ctx)
    summed = ctx.view.logits_BHN.sum(1)
    for b in range(2):
        for n in range(12):
            near = [summed[b, m].item() for m in (n - 1, n, n + 1) if 0 <= m < 12]
            assert scores_BN[b, n].item() == pytest.approx(sum(near) / 3, abs=1e-5)


def test_gemfilter_refuses_a_kernel_without_centre():
    with pytest.raises(ValidationError, match="must be odd"):
        GemFilter(kernel_size=4)


def test_selective_context_keeps_what_was_surprising():
    ctx = prompt_context(Shape(num_in=12, num_keep=5))
    kept = SelectiveContext(keep_first=1, keep_last=1).transform(ctx).cols
    for b in range(2):
        middle = sorted(range(1, 11), key=lambda n: -ctx.view.surprisal_BN[b, n].item())[:3]
        assert kept[b].tolist() == [0, *sorted(middle), 11]


def test_a_repeated_phrase_is_less_surprising_than_its_first_occurrence(recall_model):
    """The claim behind self-information, on a trained model: what repeats is guessed."""
    from methods.backbones.prompt_filter import _ModelsView

    draw = torch.Generator().manual_seed(0)
    phrase = torch.randint(10, 40, (4, 12), generator=draw)
    prompt = torch.cat([phrase, phrase, phrase[:, :1]], dim=1)
    view = _ModelsView(recall_model.model, [], prompt)
    surprisal = view.surprisal()
    assert surprisal[:, 13:24].mean() < surprisal[:, 1:12].mean() - 1
