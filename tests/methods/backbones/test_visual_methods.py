"""Methods inside a real vision-language model, each at its paper's own schedule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.backbones.llava import LlavaBackbone
from methods.base import TokenMethod
from methods.contexts import VisualContext, VisualLayout
from methods.registry import entries
from methods.schedule import num_held
from tests.methods.backbones.llava_models import EMPTY, inputs

VIDEO = VisualLayout(4, (4, 4), "frames")
PICTURES = VisualLayout(3, (4, 4), "several")
FAMILIES = ("vlm", "video")
visual = [entry for entry in entries().values() if entry.family in FAMILIES and entry.stands_alone]
every_method = pytest.mark.parametrize("entry", visual, ids=lambda entry: entry.id)


def answered(
    llava: LlavaBackbone,
    method: TokenMethod[VisualContext],
    example: tuple[Tensor, VisualLayout, Tensor],
) -> tuple[Tensor, dict[int, int]]:
    """Logits behind the prompt, and how many visual tokens each cut left."""
    with llava.compressed(method, method.home, 0.3, 0) as compression:
        logits = llava.continuation_logits(*example, EMPTY)
    cuts = {layer: w.num_out for layer, w in compression.transforms["vlm"].items()}
    return logits, cuts


@every_method
@pytest.mark.parametrize("layout", [VIDEO, PICTURES], ids=["video", "pictures"])
def test_home_schedules_hold_what_they_say(entry, layout, llava):
    method = entry.method()
    logits, cuts = answered(llava, method, inputs(layout))
    held = [num_held(share, layout.num_tokens) for share in method.home.held(0.3, 4)]
    before = [layout.num_tokens, *held[:-1]]
    expected = {layer: now for layer, now in enumerate(held) if now < before[layer]}
    assert cuts == expected
    assert logits.isfinite().all()


@every_method
def test_a_prompt_is_answered_in_a_batch_as_it_is_alone(entry, llava):
    pixels, layout, prompt = inputs(PICTURES)
    method = entry.method()
    together, _ = answered(llava, method, (pixels, layout, prompt))
    again, _ = answered(llava, method, (pixels, layout, prompt))
    assert torch.equal(together, again)
    if entry.id == "token-correlation-doc":
        pytest.skip("token-correlation-doc draws at random")
    alone = [
        answered(llava, method, (pixels[index : index + 1], layout, prompt[index : index + 1]))[0]
        for index in range(len(prompt))
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)
