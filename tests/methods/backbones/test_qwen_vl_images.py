"""A Qwen-VL's visual tokens and what its tower saw, beside the library's numbers."""

import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from methods.base import InfeasibleError
from methods.schedule import Uniform
from tests.methods.backbones.llava_models import BATCH, inputs, spy_on
from tests.methods.backbones.qwen_vl_models import (
    FAMILIES,
    FULL_LAYERS,
    LAYOUTS,
    MERGED,
    PATCH,
    TOWER_HEADS,
    TOWER_LAYERS,
    WIDE,
    WINDOW,
    patches,
)

close = torch.testing.assert_close
families = pytest.mark.parametrize("family", FAMILIES)


def test_patches_are_those_of_the_image_processor(qwens):
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 3, 12, 20), generator=draw)
    processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH, merge_size=MERGED, do_resize=False, do_rescale=False, do_normalize=False
    )
    made = processor(
        [image.permute(1, 2, 0).numpy().astype("uint8") for image in images], return_tensors="pt"
    )
    found = qwens["qwen2_5_vl"]._images.patches(images.float())
    assert torch.equal(found, made["pixel_values"].float())
    assert torch.equal(found, patches(images.float()))
    assert made["image_grid_thw"].tolist() == [[1, 6, 10]] * 2


def seen(backbone, layout):
    contexts = []
    with backbone.compressed(spy_on(contexts), Uniform(), 0.5, 0):
        backbone.answer(*inputs(layout), [], 1)
    return contexts[0]


@families
@LAYOUTS
@torch.no_grad()
def test_features_are_what_the_merger_reads(qwens, layout, family):
    ctx = seen(qwens[family], layout)
    features_BIPD = ctx.tower.hidden_BIPD
    assert features_BIPD.shape[:3] == (BATCH, layout.num_images, layout.per_image)
    patches_MD = features_BIPD.unflatten(3, (MERGED**2, -1)).flatten(0, 3)
    merged = qwens[family].model.model.visual.merger(patches_MD)
    close(merged.view(BATCH, layout.num_tokens, -1), ctx.hidden_BND)
    assert ctx.tower.selected == TOWER_LAYERS - 1
    assert torch.equal(ctx.tower.pixels_BICHW, inputs(layout)[0])


def places(layout, windows):
    """Image, row and column of every patch in the tower, in its order."""
    found = []
    for image in range(BATCH * layout.num_images):
        tokens = [(y, x) for y in range(layout.grid[0]) for x in range(layout.grid[1])]
        if windows:
            tokens.sort(key=lambda token: (token[0] // WINDOW, token[1] // WINDOW, token))
        for y, x in tokens:
            found += [(image, 2 * y + dy, 2 * x + dx) for dy in (0, 1) for dx in (0, 1)]
    return found


def turned(x_MHD, positions):
    """Rotated by row in the first half of the frequencies and by column in the second."""
    width = x_MHD.shape[-1]
    frequencies = 1 / 10000 ** (torch.arange(0, width // 2, 2) / (width // 2))
    rows, columns = (torch.tensor([place[axis] for place in positions]) for axis in (1, 2))
    angles = torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], 1)[:, None]
    first, second = x_MHD.chunk(2, -1)
    return torch.cat(
        [
            first * angles.cos() - second * angles.sin(),
            second * angles.cos() + first * angles.sin(),
        ],
        -1,
    )


@families
@LAYOUTS
@torch.no_grad()
def test_attention_and_keys_are_those_of_every_patch_on_the_grid(qwens, layout, family):
    blocks = qwens[family].model.model.visual.blocks
    projections = []
    hooks = [
        block.attn.qkv.register_forward_hook(lambda *call: projections.append(call[2]))
        for block in blocks
    ]
    tower = seen(qwens[family], layout).tower
    for hook in hooks:
        hook.remove()
    has_windows = family == "qwen2_5_vl"
    where = places(layout, has_windows)
    images = (BATCH, layout.num_images, layout.per_image)
    for layer in range(TOWER_LAYERS):
        query, key, _ = projections[layer].unflatten(1, (3, TOWER_HEADS, -1)).unbind(1)
        query, key = turned(query, where), turned(key, where)
        logits = torch.einsum("qhd,khd->hqk", query, key) * query.shape[-1] ** -0.5
        reach = 2 * WINDOW if has_windows and layer not in FULL_LAYERS else 100
        window = [(image, y // reach, x // reach) for image, y, x in where]
        apart = torch.tensor([[a != b for b in window] for a in window])
        received = logits.masked_fill(apart, -torch.inf).softmax(-1).mean(0).sum(0)
        expected = torch.zeros(BATCH * layout.num_images, *layout.grid)
        expected_keys = torch.zeros(*expected.shape, *key.shape[1:])
        for (image, y, x), value, vector in zip(where, received, key, strict=True):
            expected[image, y // 2, x // 2] += value / 4
            expected_keys[image, y // 2, x // 2] += vector / 4
        close(tower.received_LBIP[layer], expected.view(images))
        close(tower.keys_LBIHPD[layer].transpose(2, 3), expected_keys.view(*images, *key.shape[1:]))
        close(expected.sum(), torch.tensor(float(BATCH * layout.num_tokens)))


def test_a_method_that_reads_the_class_token_unasked_is_told_that_there_is_none(qwens):
    tower = seen(qwens["qwen2_vl"], WIDE).tower
    assert len(tower.cls_attention_LBIHP) == TOWER_LAYERS
    with pytest.raises(InfeasibleError, match="no class token"):
        tower.cls_attention_LBIHP[0]
