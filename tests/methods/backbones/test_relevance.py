"""What an oracle of visual tokens is told: the library's own gradients of its own answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from methods.backbones.clip import CLIPBackbone
from methods.backbones.qwen_vl import QwenVLBackbone
from methods.backbones.relevance import carried, lead
from methods.backbones.vision_tower import VisionBackbone
from methods.backbones.vit import ViTBackbone
from methods.backbones.vit_dense import ViTDenseBackbone
from methods.base import InfeasibleError
from methods.contexts import FeatureContext, VisionContext
from methods.schedule import OneLayer, Progressive, Uniform
from methods.transform import TokenTransform
from methods.vision.relevance_oracle import RelevanceOracle
from tests.methods.backbones import qwen_vl_models, towers
from tests.methods.backbones.llava_models import (
    BATCH,
    EMPTY,
    LAYOUTS,
    NUM_LAYERS,
    ONE,
    REST,
    THREE,
    inputs,
    stack,
)

close = torch.testing.assert_close


class Spy(RelevanceOracle):
    """An oracle that merges what it would prune and notes what it was shown."""

    seen: ClassVar[list[FeatureContext]] = []

    def transform(self, ctx: FeatureContext) -> TokenTransform:
        self.seen.append(ctx)
        rows_BN = torch.arange(ctx.num_in).remainder(ctx.num_keep).expand(ctx.batch, -1)
        return TokenTransform.merge(rows_BN, ctx.sizes_BN, ctx.num_keep)


@pytest.fixture(autouse=True)
def forget() -> None:
    Spy.seen.clear()


@contextmanager
def listened(modules: list[Any]) -> Iterator[list[Tensor]]:
    """What enters the modules inside the block, as parts of the graph."""
    states: list[Tensor] = []
    handles = [
        m.register_forward_pre_hook(lambda _m, args: states.append(args[0])) for m in modules
    ]
    yield states
    for handle in handles:
        handle.remove()


def products(answer: Any, states: list[Tensor]) -> list[Tensor]:
    gradients = torch.autograd.grad(answer, states)
    return [
        (g * x).square().sum(-1).sqrt().detach() for g, x in zip(gradients, states, strict=True)
    ]


def class_lead(model: Any, pixels: Tensor) -> Any:
    ordered = model(pixels).logits.sort(-1).values
    return (ordered[:, -1] - ordered[:, -2]).sum()


def embedding_length(model: Any, pixels: Tensor) -> Any:
    return model.get_image_features(pixels).pooler_output.norm(dim=-1).sum()


def highest_channels(model: Any, pixels: Tensor) -> Any:
    return model(pixels).reconstruction.amax(1).sum()


FAMILIES: dict[str, tuple[type[VisionBackbone], Callable[[], Any], str, str, Any]] = {
    "vit": (ViTBackbone, towers.vit, "logits", "layernorm_after", class_lead),
    "dense": (
        ViTDenseBackbone,
        towers.dense,
        "reconstruction",
        "layernorm_after",
        highest_channels,
    ),
    "clip": (CLIPBackbone, towers.clip, "image_embeddings", "layer_norm2", embedding_length),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_towers_tell_gradient_times_state_where_they_cut(family: str, tmp_path: Path) -> None:
    adapter, build, run, cut_before, answer = FAMILIES[family]
    path = towers.saved(build(), tmp_path)
    backbone, pixels = adapter.load(path, None, torch.float32), towers.pixels()
    library = type(backbone.model).from_pretrained(path, attn_implementation="eager").eval()
    tower = library.vision_model.encoder if family == "clip" else library.vit
    with listened([getattr(layer, cut_before) for layer in tower.layers]) as states:
        expected = products(answer(library, pixels), states)

    before = getattr(backbone, run)(pixels)
    with backbone.compressed(Spy(), Progressive(), 0.3, 0) as compression:
        for _ in range(2):
            Spy.seen.clear()
            getattr(backbone, run)(pixels)
            assert len(compression.tokens_per_layer) == towers.NUM_LAYERS
            first, second, *_ = Spy.seen
            assert first.future_BN is not None
            assert second.future_BN is not None
            close(first.future_BN, expected[0][:, 1:], atol=1e-4, rtol=1e-4)
            w = compression.transforms["vision"][0]
            close(second.future_BN, carried(expected[1][:, 1:], w), atol=1e-4, rtol=1e-4)
    assert torch.equal(getattr(backbone, run)(pixels), before)


def test_a_tower_in_a_language_model_does_not_know_the_answer(llava: Any) -> None:
    method = stack(("relevance-oracle", {"at": "vision", "keep": 0.5}))
    with (
        pytest.raises(InfeasibleError, match="what the model answers"),
        llava.compressed(method, Uniform(), 1.0, 0),
    ):
        llava.answer(*inputs(ONE), [], 1)


@LAYOUTS
@pytest.mark.parametrize("follow_ups", [[], [REST]], ids=["one-turn", "two-turns"])
def test_a_decoder_tells_relevance_for_all_that_it_answers(
    llava: Any, plain: Any, layout: Any, follow_ups: list[Tensor]
) -> None:
    pixels, _, prompt = inputs(layout)
    turns = llava.answer(pixels, layout, prompt, follow_ups, 2).unbind(1)
    parts, ends = [prompt, turns[0][:, :1]], [prompt.shape[1], prompt.shape[1] + 1]
    for follow_up, turn in zip(follow_ups, turns[1:], strict=True):
        parts += [turns[0][:, 1:], follow_up, turn[:, :1]]
        ends += [ends[-1] + 1 + follow_up.shape[1], ends[-1] + 2 + follow_up.shape[1]]
    with listened(list(plain.model.language_model.layers)) as states:
        out = plain(input_ids=torch.cat(parts, 1), pixel_values=pixels.flatten(0, 1))
        ordered = out.logits[:, [end - 1 for end in ends]].sort(-1).values
        expected = products((ordered[..., -1] - ordered[..., -2]).sum(), states)
    is_visual = prompt[0] == llava.model.config.image_token_index

    for layer in range(NUM_LAYERS):
        Spy.seen.clear()
        with llava.compressed(Spy(), OneLayer(layer=layer), 0.5, 0):
            llava.answer(pixels, layout, prompt, follow_ups, 2)
        (ctx,) = Spy.seen
        visual_BN = expected[layer][:, : len(is_visual)][:, is_visual]
        close(ctx.future_BN, visual_BN, atol=1e-4, rtol=1e-3)


def test_a_decoder_that_turns_by_rows_and_columns_tells_it_too(tmp_path: Path) -> None:
    plain, layout = qwen_vl_models.random_model("qwen2_5_vl"), qwen_vl_models.THREE
    plain.save_pretrained(tmp_path)
    qwen = QwenVLBackbone.load(str(tmp_path), None, torch.float32)
    pixels, _, prompt = inputs(layout)
    turns = qwen.answer(pixels, layout, prompt, [], 2).unbind(1)
    ids = torch.cat([prompt, turns[0][:, :1]], 1)
    with listened(list(plain.model.language_model.layers)) as states:
        out = plain(**qwen_vl_models.given(pixels, ids))
        ordered = out.logits[:, -2:].sort(-1).values
        expected = products((ordered[..., -1] - ordered[..., -2]).sum(), states)
    with qwen.compressed(Spy(), Progressive(), 0.5, 0):
        qwen.answer(pixels, layout, prompt, [], 2)
    is_visual = prompt[0] == qwen.model.config.image_token_id
    close(Spy.seen[0].future_BN, expected[0][:, :-1][:, is_visual], atol=1e-4, rtol=1e-3)


def test_tokens_merged_on_the_way_have_the_relevance_of_their_parts(llava: Any) -> None:
    example = inputs(THREE)
    with llava.compressed(Spy(), OneLayer(layer=1), 0.5, 0):
        llava.continuation_logits(*example, EMPTY)
    (alone,) = Spy.seen
    with llava.compressed(Spy(), Progressive(last=1), 0.5, 0) as compression:
        llava.continuation_logits(*example, EMPTY)
    whole_BN, w = alone.future_BN, compression.transforms["vlm"][0]
    assert whole_BN is not None
    close(Spy.seen[-1].future_BN, (w.dense() > 0).float().matmul(whole_BN[..., None])[..., 0])


def test_every_other_place_rehearses_too_and_is_itself_again(llava: Any) -> None:
    example = inputs(THREE)
    before = llava.answer(*example, [REST], 3)
    method = stack(
        ("random", {"at": "vision", "keep": 0.5}),
        ("relevance-oracle", {"at": "vlm", "keep": 0.5}),
        ("oracle", {"keep": 0.5}),
    )
    with llava.compressed(method, Uniform(), 1.0, 0) as compression:
        assert llava.answer(*example, [REST], 3).shape == (BATCH, 2, 3)
        assert compression.transforms["vlm"][0].num_in == THREE.num_tokens // 2
        assert compression.transforms["kv"][0].merges is False
    assert torch.equal(llava.answer(*example, [REST], 3), before)


def test_a_shared_token_divides_its_relevance() -> None:
    w = TokenTransform.mix(torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 3.0, 1.0, 0.0]]]))
    close(carried(torch.tensor([[1.0, 5.0, 2.0, 9.0]]), w), torch.tensor([[3.0, 5.0]]))


def test_a_lead_is_over_the_next_best() -> None:
    assert lead(torch.tensor([[1.0, 4.0, 2.5], [0.0, 0.0, -1.0]])).tolist() == [1.5, 0.0]


def test_spies_are_shown_patches_without_the_class_token(tmp_path: Path) -> None:
    backbone = ViTBackbone.load(towers.saved(towers.vit(), tmp_path), None, torch.float32)
    with backbone.compressed(Spy(), Uniform(), 0.5, 0):
        backbone.logits(towers.pixels())
    (ctx,) = Spy.seen
    assert isinstance(ctx, VisionContext)
    assert ctx.future_BN is not None
    assert ctx.future_BN.shape == ctx.sizes_BN.shape
    assert ctx.future_BN.dtype == torch.float32
