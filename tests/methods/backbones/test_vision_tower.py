"""What every tower promises, whatever its family, against the library's own eager attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from methods.backbones import attention_tap
from methods.backbones.attention_tap import AttentionCall
from methods.backbones.clip import CLIPBackbone
from methods.backbones.vision_tower import VisionBackbone
from methods.backbones.vit import ViTBackbone
from methods.base import TokenMethod
from methods.contexts import VisionContext
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from methods.transform import TokenTransform
from tests.methods.backbones import towers
from tests.methods.backbones.towers import GRID, NUM_LAYERS, NUM_PATCHES


class Family(NamedTuple):
    """One family's names, written down a second time from the library's source."""

    adapter: type[VisionBackbone]
    build: Callable[[], PreTrainedModel]
    run: str
    vision: str
    layers: str
    attention: str
    norm_before: str
    norm_after: str


FAMILIES = {
    "vit": Family(
        ViTBackbone,
        towers.vit,
        "logits",
        "vit",
        "layers",
        "attention",
        "layernorm_before",
        "layernorm_after",
    ),
    "clip": Family(
        CLIPBackbone,
        towers.clip,
        "image_embeddings",
        "vision_model",
        "encoder.layers",
        "self_attn",
        "layer_norm1",
        "layer_norm2",
    ),
}


class Opened(NamedTuple):
    """A backbone beside the same weights with eager attention."""

    family: Family
    backbone: VisionBackbone
    eager: Any

    def run(self, pixels: Tensor) -> Tensor:
        """The model's answer."""
        answer: Tensor = getattr(self.backbone, self.family.run)(pixels)
        return answer

    @property
    def layers(self) -> list[Any]:
        """The eager model's layers."""
        return list(self.eager.get_submodule(f"{self.family.vision}.{self.family.layers}"))


@pytest.fixture(scope="module", params=FAMILIES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    family = FAMILIES[request.param]
    folder: Path = tmp_path_factory.mktemp(request.param)
    path = towers.saved(family.build(), folder)
    backbone = family.adapter.load(path, None, torch.float32)
    assert isinstance(backbone, VisionBackbone)
    eager = type(backbone.model).from_pretrained(path, attn_implementation="eager").eval()
    return Opened(family, backbone, eager)


class Spy(TokenMethod[VisionContext]):
    """Keeps every other patch and remembers what it saw."""

    needs_cls: ClassVar[bool] = True
    needs_attention: ClassVar[bool] = True
    needs_next_attention: ClassVar[bool] = True
    proportional_attention: ClassVar[bool] = True
    seen: ClassVar[list[VisionContext]] = []

    def transform(self, ctx: VisionContext) -> TokenTransform:
        self.seen.append(ctx)
        rows_BN = torch.arange(ctx.num_in).remainder(ctx.num_keep).expand(ctx.batch, -1)
        return TokenTransform.merge(rows_BN, ctx.sizes_BN, ctx.num_keep)


class Warm(Spy):
    """The same with a temperature."""

    def attention_scale(self, num_in: int, num_now: int) -> float:
        return 1 + num_now / num_in


@pytest.fixture(autouse=True)
def forget() -> None:
    Spy.seen.clear()


def attention_of(opened: Opened, layer: Any, hidden_BMD: Tensor, bias: Tensor | None) -> Any:
    """The library's own eager attention: (output [B, M, D], weights [B, H, M, M])."""
    family = opened.family
    with torch.no_grad():
        normed_BMD = getattr(layer, family.norm_before)(hidden_BMD)
        return getattr(layer, family.attention)(normed_BMD, attention_mask=bias)


def patches_first(hidden_BMD: Tensor, patches_BND: Tensor) -> Tensor:
    return torch.cat([hidden_BMD[:, :1], patches_BND], dim=1)


def slow_pass(
    opened: Opened, hidden_BMD: Tensor, cuts: dict[int, TokenTransform], method: TokenMethod[Any]
) -> list[dict[str, Tensor]]:
    """What the layers compute, one by one, with these reductions between attention and MLP."""
    found, sizes_BN, num_in = [], torch.ones(hidden_BMD.shape[0], NUM_PATCHES), hidden_BMD.shape[1]
    for index, layer in enumerate(opened.layers):
        bias = torch.nn.functional.pad(sizes_BN.log(), (1, 0))[:, None, None]
        attention = getattr(layer, opened.family.attention)
        name = "scaling" if hasattr(attention, "scaling") else "scale"
        own = getattr(attention, name)
        num_now = hidden_BMD.shape[1]
        scale = 1.0 if num_now == num_in else method.attention_scale(num_in, num_now)
        setattr(attention, name, own * scale)
        output_BMD, weights_BHMM = attention_of(opened, layer, hidden_BMD, bias)
        setattr(attention, name, own)
        found.append({"entering": hidden_BMD, "weights": weights_BHMM, "bias": bias})
        hidden_BMD = hidden_BMD + output_BMD
        found[-1]["after"] = hidden_BMD
        if index in cuts:
            hidden_BMD = patches_first(hidden_BMD, cuts[index](hidden_BMD[:, 1:]))
            sizes_BN = cuts[index].sizes(sizes_BN)
        with torch.no_grad():
            normed_BMD = getattr(layer, opened.family.norm_after)(hidden_BMD)
            hidden_BMD = hidden_BMD + layer.mlp(normed_BMD)
        found[-1]["out"] = hidden_BMD
    return found


def entering_first_layer(opened: Opened, pixels: Tensor) -> Tensor:
    tower = opened.eager.get_submodule(opened.family.vision)
    with torch.no_grad():
        hidden_BMD = tower.embeddings(pixels)
        hidden_BMD = getattr(tower, "pre_layrnorm", torch.nn.Identity())(hidden_BMD)
    return torch.as_tensor(hidden_BMD)


@pytest.mark.parametrize("method", [Spy(), Warm()], ids=["plain", "with-temperature"])
def test_blocks_are_cut_between_attention_and_mlp(opened: Opened, method: Spy) -> None:
    """The whole pass, layer by layer, is the library's with the reductions in their place."""
    entered: list[Tensor] = []
    handles = [
        block.layer.register_forward_hook(lambda _module, _args, out: entered.append(out))
        for block in opened.backbone.tower.blocks
    ]
    with opened.backbone.compressed(method, Progressive(), 0.2, seed=0) as record:
        opened.run(towers.pixels())
    for handle in handles:
        handle.remove()
    first = entering_first_layer(opened, towers.pixels())
    slow = slow_pass(opened, first, record.transforms["vision"], method)
    assert len(record.transforms["vision"]) == 3
    for layer, out_BMD in enumerate(entered):
        torch.testing.assert_close(out_BMD, slow[layer]["out"], atol=1e-4, rtol=1e-4)


def close(found: Tensor | None, expected: Tensor) -> None:
    assert found is not None
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", [Spy(), Warm()], ids=["plain", "with-temperature"])
def test_methods_see_that_blocks_own_states(opened: Opened, method: Spy) -> None:
    with opened.backbone.compressed(method, Progressive(), 0.2, seed=0) as record:
        opened.run(towers.pixels())
    first = entering_first_layer(opened, towers.pixels())
    slow = slow_pass(opened, first, record.transforms["vision"], method)
    for ctx, layer in zip(Spy.seen, range(3), strict=True):
        attention = getattr(opened.layers[layer], opened.family.attention)
        normed = getattr(opened.layers[layer], opened.family.norm_before)(slow[layer]["entering"])
        close(ctx.hidden_BND, slow[layer]["after"][:, 1:])
        for ours, name in [
            (ctx.queries_BHND, "q_proj"),
            (ctx.keys_BHND, "k_proj"),
            (ctx.values_BHND, "v_proj"),
        ]:
            expected_BMD = getattr(attention, name)(normed)
            assert ours is not None
            close(ours.transpose(1, 2).flatten(2), expected_BMD[:, 1:])
        weights_BHMM = slow[layer]["weights"]
        close(ctx.attention_BHMM, weights_BHMM)
        close(ctx.cls_attention_BHN, weights_BHMM[:, :, 0, 1:])
        assert (ctx.layer, ctx.num_layers) == (layer, NUM_LAYERS)


def test_the_next_blocks_attention_is_computed_on_the_current_states(opened: Opened) -> None:
    with opened.backbone.compressed(Spy(), OneLayer(layer=1), 0.5, seed=0):
        opened.run(towers.pixels())
    slow = slow_pass(opened, entering_first_layer(opened, towers.pixels()), {}, Spy())
    _, expected = attention_of(opened, opened.layers[2], slow[1]["after"], None)
    ahead_BHMM = Spy.seen[0].next_attention_BHMM
    assert ahead_BHMM is not None
    torch.testing.assert_close(ahead_BHMM, expected, atol=1e-4, rtol=1e-4)


def test_the_last_block_has_no_next_one(opened: Opened) -> None:
    with opened.backbone.compressed(Spy(), Progressive(last=-1), 0.2, seed=0):
        opened.run(towers.pixels())
    assert [ctx.next_attention_BHMM is None for ctx in Spy.seen] == [False] * 3 + [True]


def test_patches_are_a_grid_until_they_are_reduced(opened: Opened) -> None:
    with opened.backbone.compressed(Spy(), Progressive(), 0.2, seed=0):
        opened.run(towers.pixels())
        opened.run(towers.pixels())
    assert [ctx.grid for ctx in Spy.seen] == [GRID, None, None] * 2


def test_memory_lives_as_long_as_the_block(opened: Opened) -> None:
    for _ in range(2):
        with opened.backbone.compressed(Spy(), Uniform(), 0.5, seed=0):
            opened.run(towers.pixels())
            opened.run(towers.pixels())
    memories = [ctx.memory for ctx in Spy.seen]
    assert memories[0] is memories[1]
    assert memories[2] is memories[3]
    assert memories[1] is not memories[2]


def test_what_is_not_needed_is_not_computed(opened: Opened) -> None:
    class Blind(Spy):
        needs_cls: ClassVar[bool] = False
        needs_attention: ClassVar[bool] = False
        needs_next_attention: ClassVar[bool] = False

    with opened.backbone.compressed(Blind(), Uniform(), 0.5, seed=0):
        opened.run(towers.pixels())
    (ctx,) = Spy.seen
    assert ctx.attention_BHMM is ctx.next_attention_BHMM is ctx.cls_attention_BHN is None


def test_no_trace_is_left(opened: Opened) -> None:
    before = opened.run(towers.pixels())
    with opened.backbone.compressed(Spy(), Progressive(), 0.3, seed=0):
        assert not torch.equal(opened.run(towers.pixels()), before)
    assert torch.equal(opened.run(towers.pixels()), before)
    blocks = opened.backbone.tower.blocks
    assert not any("forward" in vars(block.layer) for block in blocks)
    assert not any(attention_tap.is_tapped(block.attention) for block in blocks)


def test_a_pruned_patch_is_gone_from_the_next_blocks_attention(opened: Opened) -> None:
    """What a block reads are the class token and what the one before it kept, nothing else."""
    queries: list[tuple[int, ...]] = []

    def look(_module: torch.nn.Module, call: AttentionCall) -> AttentionCall:
        queries.append((call.query_BHTD.shape[2], call.key_BKND.shape[2]))
        return call

    modules = [block.attention for block in opened.backbone.tower.blocks]
    with (
        attention_tap.attach(modules, look),
        opened.backbone.compressed(Spy(), Progressive(), 0.3, seed=0),
    ):
        opened.run(towers.pixels())
    held = [num_held(share, NUM_PATCHES) for share in Progressive().held(0.3, NUM_LAYERS)]
    assert queries == [(1 + n, 1 + n) for n in [NUM_PATCHES, *held[:-1]]]
