"""The tower inside a LLaVA is masked as any other, and what comes after it does not notice how."""

import pytest
import torch

from methods.schedule import Uniform, num_held
from methods.vision.ve_uncertainty_masking import VEUncertaintyMasking
from tests.methods.backbones.llava_models import (
    NUM_LAYERS,
    ONE,
    REST,
    THREE,
    TOWER_LAYERS,
    P,
    inputs,
    spy_on,
    stack,
)

QUICK = VEUncertaintyMasking(steps=2)


@pytest.mark.parametrize("layout", [ONE, THREE], ids=["one-image", "three-images"])
def test_the_tower_inside_a_llava_is_masked(llava, layout):
    """Its passes run in inference mode, where gradients can be had only by leaving it."""
    pixels, _, prompt = inputs(layout)
    with llava.uncompressed() as whole:
        before = llava.continuation_logits(pixels, layout, prompt, REST)
    maps = []

    class Told(VEUncertaintyMasking):
        def uncertainty(self, probe):
            maps.append(super().uncertainty(probe))
            return maps[-1]

    with llava.compressed(Told(steps=2), Uniform(), 0.5, seed=0) as record:
        inside = llava.continuation_logits(pixels, layout, prompt, REST)
    assert record.tokens_per_layer == whole.tokens_per_layer
    assert len(record.tokens_per_layer) == NUM_LAYERS
    assert not torch.equal(inside, before)
    assert maps[0].shape == (len(pixels) * layout.num_images, P)
    assert torch.equal(llava.continuation_logits(pixels, layout, prompt, REST), before)


def test_a_method_behind_the_tower_sees_the_pass_and_not_the_probe(llava, monkeypatch):
    pixels, _, prompt = inputs(THREE)
    contexts = []
    method = stack(("random", {"at": "vision", "keep": 0.5}), ("random", {"at": "vlm"}))
    monkeypatch.setitem(vars(method), "components", (QUICK, spy_on(contexts)))
    with llava.compressed(method, Uniform(), 0.5, seed=0) as record:
        logits = llava.continuation_logits(pixels, THREE, prompt, REST)
    assert logits.isfinite().all()
    assert record.transforms["vlm"][0].num_out == num_held(0.5, THREE.num_tokens)
    assert len(contexts[0].tower.cls_attention_LBIHP) == TOWER_LAYERS
