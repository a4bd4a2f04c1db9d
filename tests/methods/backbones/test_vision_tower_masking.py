"""Patches are silenced in middle layers of any tower, none is removed, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from methods.backbones import attention_tap
from methods.backbones.base import VacuousCompressionError
from methods.backbones.clip import CLIPBackbone
from methods.backbones.vision_tower import VisionBackbone
from methods.backbones.vit import ViTBackbone
from methods.backbones.vit_dense import ViTDenseBackbone
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from methods.vision._masking import TowerProbe
from methods.vision.ve_uncertainty_masking import VEUncertaintyMasking
from tests.methods.backbones import towers
from tests.methods.backbones.towers import NUM_PATCHES

FAMILIES: dict[str, tuple[type[VisionBackbone], Callable[[], Any], str, str]] = {
    "vit": (ViTBackbone, towers.vit, "logits", "o_proj"),
    "clip": (CLIPBackbone, towers.clip, "image_embeddings", "out_proj"),
    "dense": (ViTDenseBackbone, towers.dense, "reconstruction", "o_proj"),
}
MASKED = 2
"""The one layer of four in which a tower of that depth is masked."""
QUICK = VEUncertaintyMasking(steps=2)


class Opened:
    """A tiny model of one family, and the module that every attention's output passes."""

    def __init__(self, family: str, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        adapter, build, self.run_name, self.projection = FAMILIES[family]
        self.backbone: Any = adapter.load(towers.saved(build(), folder), None, dtype)

    def run(self) -> Tensor:
        found: Tensor = getattr(self.backbone, self.run_name)(towers.pixels())
        return found

    @property
    def attentions(self) -> list[Any]:
        return [block.attention for block in self.backbone.tower.blocks]

    @contextmanager
    def watched(self) -> Iterator[list[Tensor]]:
        """What every attention hands to its output projection, layer after layer."""
        outputs: list[Tensor] = []

        def note(_module: nn.Module, args: tuple[Tensor]) -> None:
            outputs.append(args[0])

        with ExitStack() as exits:
            for attention in self.attentions:
                hook = getattr(attention, self.projection).register_forward_pre_hook(note)
                exits.callback(hook.remove)
            yield outputs


@pytest.fixture(params=FAMILIES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    return Opened(request.param, tmp_path)


class Told(VEUncertaintyMasking):
    """Notes its maps and its probes."""

    maps: ClassVar[list[Tensor]] = []
    probes: ClassVar[list[TowerProbe]] = []
    steps: int = 2

    def uncertainty(self, probe: TowerProbe) -> Tensor:
        found = super().uncertainty(probe)
        self.maps.append(found)
        self.probes.append(probe)
        return found


@pytest.fixture(autouse=True)
def _forget() -> None:
    Told.maps.clear()
    Told.probes.clear()


@pytest.mark.parametrize("keep_ratio", [0.75, 0.3])
def test_the_most_uncertain_patches_get_nothing_from_attention_in_middle_layers(
    opened: Opened, keep_ratio: float
) -> None:
    """Eq. 4: their rows of the attention output are zero, all others are not."""
    compressed = opened.backbone.compressed(Told(), Uniform(), keep_ratio, seed=0)
    with compressed, opened.watched() as outputs:
        opened.run()
    num_masked = NUM_PATCHES - num_held(keep_ratio, NUM_PATCHES)
    masks = [(output == 0).all(-1) for output in outputs[-4:]]
    (uncertainty_BN,) = Told.maps
    expected = torch.zeros(3, 1 + NUM_PATCHES, dtype=torch.bool)
    for image in range(3):
        ranked = sorted(range(NUM_PATCHES), key=lambda n: -float(uncertainty_BN[image, n]))
        expected[image, [1 + n for n in ranked[:num_masked]]] = True
    assert torch.equal(masks[MASKED], expected)
    assert not any(mask.any() for layer, mask in enumerate(masks) if layer != MASKED)


def test_other_patches_get_what_they_would_have_got(opened: Opened) -> None:
    """Masking zeroes rows; it does not turn attention away from the masked patches."""
    with opened.watched() as plain:
        opened.run()
    compressed = opened.backbone.compressed(QUICK, Uniform(), 0.5, seed=0)
    with compressed, opened.watched() as outputs:
        opened.run()
    masked, before = outputs[-4:][MASKED], plain[MASKED]
    kept = (masked != 0).any(-1)
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(masked[kept], before[kept])


def test_all_tokens_enter_every_layer_and_time_is_counted(opened: Opened) -> None:
    with opened.backbone.compressed(QUICK, Progressive(), 0.3, seed=0) as record:
        opened.run()
    assert record.tokens_per_layer == [1 + NUM_PATCHES] * 4
    assert not record.transforms["vision"]
    assert record.seconds > 0


def test_the_probe_is_the_tower_itself(opened: Opened) -> None:
    """Its states are what the library's layers give for the same pixels."""
    with opened.backbone.compressed(Told(), Uniform(), 0.5, seed=0):
        opened.run()
    probe = Told.probes[0]
    assert torch.equal(probe.pixels_BCHW, towers.pixels())
    entering: list[Tensor] = []
    with ExitStack() as exits, torch.no_grad():
        for block in opened.backbone.tower.blocks[1:]:
            hook = block.layer.register_forward_pre_hook(
                lambda _module, args: entering.append(args[0])
            )
            exits.callback(hook.remove)
        opened.run()
        states = probe.states(probe.pixels_BCHW, 4)
    assert len(states) == 4
    for state_BND, entering_BMD in zip(states, entering, strict=False):
        torch.testing.assert_close(state_BND, entering_BMD[:, 1:])


def test_taps_do_not_see_the_probe(opened: Opened) -> None:
    calls: list[nn.Module] = []

    def look(module: nn.Module, call: attention_tap.AttentionCall) -> attention_tap.AttentionCall:
        calls.append(module)
        return call

    with (
        opened.backbone.compressed(QUICK, Uniform(), 0.5, seed=0),
        attention_tap.attach(opened.attentions, look),
    ):
        opened.run()
    assert calls == opened.attentions


def test_two_runs_give_the_same_bits_and_passes_differ_in_their_noise(opened: Opened) -> None:
    def twice() -> list[Tensor]:
        with opened.backbone.compressed(Told(), Uniform(), 0.5, seed=0):
            return [opened.run(), opened.run()]

    first, second = twice(), twice()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(Told.maps[0], Told.maps[2])
    assert not torch.equal(Told.maps[0], Told.maps[1])


def test_no_trace_is_left(opened: Opened) -> None:
    before = opened.run()
    with opened.backbone.compressed(QUICK, Uniform(), 0.5, seed=0):
        inside = opened.run()
    assert not torch.equal(inside, before)
    assert not inside.requires_grad
    assert torch.equal(opened.run(), before)
    tower = opened.backbone.tower
    assert not any(attention_tap.is_tapped(attention) for attention in opened.attentions)
    assert not any("forward" in vars(block.layer) for block in tower.blocks)
    assert not any(module._forward_pre_hooks for module in tower.entrance)
    for parameter in opened.backbone.model.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad


def test_a_probe_that_fails_leaves_no_trace(opened: Opened) -> None:
    class Broken(VEUncertaintyMasking):
        def uncertainty(self, probe: TowerProbe) -> Tensor:
            raise KeyError

    before = opened.run()
    with pytest.raises(KeyError), opened.backbone.compressed(Broken(), Uniform(), 0.5, seed=0):
        opened.run()
    assert torch.equal(opened.run(), before)


def test_masking_that_no_middle_layer_does_is_an_error(opened: Opened) -> None:
    with (
        pytest.raises(VacuousCompressionError, match="1 of 1 forward passes attended to all"),
        opened.backbone.compressed(QUICK, OneLayer(layer=3), 0.5, seed=0),
    ):
        opened.run()


def test_half_precision_works(tmp_path: Path) -> None:
    opened = Opened("vit", tmp_path, torch.bfloat16)
    before = opened.run()
    with opened.backbone.compressed(Told(), Uniform(), 0.5, seed=0):
        inside = opened.run()
    assert inside.isfinite().all()
    assert not torch.equal(inside, before)
    (uncertainty_BN,) = Told.maps
    assert uncertainty_BN.dtype == torch.float32
    assert (uncertainty_BN.std(-1) > 0).all()
