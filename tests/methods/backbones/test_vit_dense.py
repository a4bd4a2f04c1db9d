"""A Hugging Face ViT that paints: reduced tokens are back on the grid before they are read."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from transformers import ViTForMaskedImageModeling

from methods import registry
from methods.backbones.base import VacuousCompressionError
from methods.backbones.vit_dense import ViTDenseBackbone
from methods.base import TokenMethod
from methods.contexts import VisionContext
from methods.controls.uniform import Uniform as UniformStride
from methods.schedule import OneLayer, Progressive, Uniform
from methods.transform import TokenTransform
from tests.methods.backbones import towers
from tests.methods.backbones.towers import NUM_LAYERS, NUM_PATCHES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return towers.saved(towers.dense(), tmp_path_factory.mktemp("dense"))


@pytest.fixture
def backbone(folder: str) -> ViTDenseBackbone:
    return ViTDenseBackbone.load(folder, None, torch.float32)


def test_an_opened_model_is_the_hugging_face_model(backbone: ViTDenseBackbone, folder: str) -> None:
    library: Any = ViTForMaskedImageModeling.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = library(towers.pixels()).reconstruction
    assert torch.equal(backbone.reconstruction(towers.pixels()), expected)
    assert expected.shape == towers.pixels().shape


@pytest.mark.parametrize("method_id", towers.VISION)
def test_keep_ratio_one_is_exactly_the_baseline(backbone: ViTDenseBackbone, method_id: str) -> None:
    expected = backbone.reconstruction(towers.pixels())
    with backbone.compressed(registry.build(method_id, {}), Progressive(), 1.0, seed=0):
        assert torch.equal(backbone.reconstruction(towers.pixels()), expected)


@pytest.mark.parametrize("schedule", [Progressive(), OneLayer(layer=3)], ids=repr)
@pytest.mark.parametrize("method_id", towers.REDUCING)
def test_every_method_paints_the_whole_image_and_leaves_no_trace(
    backbone: ViTDenseBackbone, method_id: str, schedule: Uniform
) -> None:
    before = backbone.reconstruction(towers.pixels())
    with backbone.compressed(registry.build(method_id, {}), schedule, 0.3, seed=0):
        inside = backbone.reconstruction(towers.pixels())
    assert inside.shape == before.shape
    assert not torch.equal(inside, before)
    assert torch.equal(backbone.reconstruction(towers.pixels()), before)
    assert not backbone.model.vit.layernorm._forward_pre_hooks


class Recorder:
    """States on both sides of the restoration, and the ones before each cut."""

    def __init__(self, backbone: ViTDenseBackbone, method: TokenMethod[Any], keep: float) -> None:
        self.cut: list[Tensor] = []
        tower = backbone.model.vit
        handles = [
            tower.layers[-1].register_forward_hook(
                lambda _m, _a, out: setattr(self, "reduced_BMD", out)
            ),
            tower.layernorm.register_forward_hook(
                lambda _m, args, _out: setattr(self, "restored_BMD", args[0])
            ),
        ]
        with backbone.compressed(method, Progressive(), keep, seed=0) as record:
            backbone.reconstruction(towers.pixels())
        for handle in handles:
            handle.remove()
        self.transforms = [
            record.transforms["vision"][i] for i in sorted(record.transforms["vision"])
        ]

    reduced_BMD: Tensor
    restored_BMD: Tensor


class Fold(TokenMethod[VisionContext]):
    """Merges by position, prunes the last patch of all, and remembers what came before."""

    seen: ClassVar[list[VisionContext]] = []

    def transform(self, ctx: VisionContext) -> TokenTransform:
        self.seen.append(ctx)
        rows_BN = torch.arange(ctx.num_in - 1).remainder(ctx.num_keep).expand(ctx.batch, -1)
        return _without_last(TokenTransform.merge(rows_BN, ctx.sizes_BN[:, :-1], ctx.num_keep))


def _without_last(merged: TokenTransform) -> TokenTransform:
    return TokenTransform(
        merged.rows, merged.cols, merged.weights, merged.num_in + 1, merged.num_out
    )


def slow_restored(states: Tensor, contexts: list[VisionContext], transforms: Any) -> Tensor:
    for ctx, transform in zip(reversed(contexts), reversed(transforms), strict=True):
        dense_BKN = transform.dense()
        rows = torch.empty(ctx.batch, transform.num_in, states.shape[-1])
        for b in range(ctx.batch):
            for n in range(transform.num_in):
                column = dense_BKN[b, :, n]
                if column.sum() == 0:
                    rows[b, n] = ctx.hidden_BND[b, n]
                else:
                    rows[b, n] = (column[:, None] * states[b]).sum(0) / column.sum()
        states = rows
    return states


def test_every_cut_is_undone_in_reverse_order(backbone: ViTDenseBackbone) -> None:
    """Merged patches get their token's state, pruned ones the state in which they were pruned."""
    Fold.seen.clear()
    record = Recorder(backbone, Fold(), 0.2)
    assert len(record.transforms) == NUM_LAYERS - 1
    expected = slow_restored(record.reduced_BMD[:, 1:], Fold.seen, record.transforms)
    assert expected.shape[1] == NUM_PATCHES
    torch.testing.assert_close(record.restored_BMD[:, 1:], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(record.restored_BMD[:, 0], record.reduced_BMD[:, 0])


def test_pruned_patches_keep_their_last_state(backbone: ViTDenseBackbone) -> None:
    record = Recorder(backbone, UniformStride(), 0.2)
    kept = record.transforms[0].dense().sum(1).bool()
    assert 0 < kept.sum() < kept.numel()
    assert not (record.restored_BMD == 0).all(-1).any()


class Spread(Fold):
    """Has a reconstruction of its own: every patch is the mean of all tokens."""

    def unmerge_weights(self, ctx: VisionContext, transform: TokenTransform) -> Tensor | None:
        return torch.full((ctx.batch, transform.num_in, transform.num_out), 1 / transform.num_out)


def test_a_method_may_bring_its_own_reconstruction(backbone: ViTDenseBackbone) -> None:
    record = Recorder(backbone, Spread(), 0.2)
    mean_B1D = record.reduced_BMD[:, 1:].mean(1, keepdim=True)
    expected = mean_B1D.expand(-1, NUM_PATCHES, -1)
    torch.testing.assert_close(record.restored_BMD[:, 1:], expected, atol=1e-5, rtol=1e-5)


def fail(_module: Any, _args: Any) -> None:
    raise ZeroDivisionError


def test_a_pass_that_failed_does_not_disturb_the_next(backbone: ViTDenseBackbone) -> None:
    method = registry.build("tome", {})
    with backbone.compressed(method, Progressive(), 0.3, seed=0):
        expected = backbone.reconstruction(towers.pixels())
    with backbone.compressed(method, Progressive(), 0.3, seed=0):
        fails = backbone.model.vit.layernorm.register_forward_pre_hook(fail, prepend=True)
        with pytest.raises(ZeroDivisionError):
            backbone.reconstruction(towers.pixels())
        fails.remove()
        assert torch.equal(backbone.reconstruction(towers.pixels()), expected)


class PromiseOnly(TokenMethod[VisionContext]):
    """Returns everything whatever is asked."""

    def transform(self, ctx: VisionContext) -> TokenTransform:
        return TokenTransform.identity(ctx.batch, ctx.num_in)


def test_compression_that_does_not_happen_is_an_error(backbone: ViTDenseBackbone) -> None:
    with (
        pytest.raises(VacuousCompressionError, match="forward passes"),
        backbone.compressed(PromiseOnly(), Uniform(), 0.5, seed=0),
    ):
        backbone.reconstruction(towers.pixels())


def test_reconstructions_that_are_not_finite_are_an_error(backbone: ViTDenseBackbone) -> None:
    pixels = towers.pixels()
    pixels[0, 0, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match="reconstructions"):
        backbone.reconstruction(pixels)


def test_layers_are_read_from_the_config(backbone: ViTDenseBackbone) -> None:
    assert backbone.num_layers == NUM_LAYERS
    assert ViTDenseBackbone.layers_in(backbone.model.config.to_dict()) == NUM_LAYERS
