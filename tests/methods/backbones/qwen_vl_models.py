"""Tiny random models of the Qwen-VL families, as the library alone runs them."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from methods.contexts import VisualLayout
from tests.methods.backbones.llava_models import (
    HEAD_DIM,
    IMAGE,
    KV_HEADS,
    NUM_LAYERS,
    QUERY_HEADS,
    SIDE,
    VOCABULARY,
)

FAMILIES = ("qwen2_5_vl", "qwen2_vl")
PATCH, MERGED, WINDOW, FULL_LAYERS = 2, 2, 2, (1,)
"""Pixels of a patch, patches of a token and tokens of a window along a side; layers without."""
TOKEN = PATCH * MERGED
assert SIDE // 4 == TOKEN, "inputs() draws images of 4 pixels for each token"
TOWER_LAYERS, TOWER_HEADS, TOWER_WIDTH = 3, 2, 16
WIDE = VisualLayout(1, (3, 5))
THREE = VisualLayout(3, (5, 4), "several")
LAYOUTS = pytest.mark.parametrize("layout", [WIDE, THREE], ids=["wide-image", "three-images"])


def config_of(family="qwen2_5_vl", **changes):
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": QUERY_HEADS * HEAD_DIM,
        "intermediate_size": 32,
        "num_hidden_layers": NUM_LAYERS,
        "num_attention_heads": QUERY_HEADS,
        "num_key_value_heads": KV_HEADS,
        "initializer_range": 0.3,  # attention far from uniform, so that what is cut matters
        "bos_token_id": None,
        "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": TOWER_LAYERS,
        "num_heads": TOWER_HEADS,
        "patch_size": PATCH,
        "spatial_merge_size": MERGED,
        "initializer_range": 0.3,
    }
    if family == "qwen2_vl":
        vision |= {"embed_dim": TOWER_WIDTH, "mlp_ratio": 1, "hidden_size": text["hidden_size"]}
    else:
        vision |= {
            "hidden_size": TOWER_WIDTH,
            "intermediate_size": 16,
            "out_hidden_size": text["hidden_size"],
            "window_size": WINDOW * TOKEN,
            "fullatt_block_indexes": FULL_LAYERS,
        }
    return AutoConfig.for_model(
        family,
        text_config=text | changes,
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=IMAGE - 1,
        vision_start_token_id=IMAGE - 2,
        vision_end_token_id=IMAGE - 3,
    )


def random_model(family):
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config_of(family)).eval()


def patches(images_JCHW):
    """Image patches [J Y X 4, C 2 R R] cut out one by one: squares of four, row by row."""
    found = []
    for image in images_JCHW:
        rows, columns = (size // TOKEN for size in image.shape[1:])
        for y, x in ((y, x) for y in range(rows) for x in range(columns)):
            for top, left in ((0, 0), (0, PATCH), (PATCH, 0), (PATCH, PATCH)):
                top, left = y * TOKEN + top, x * TOKEN + left
                patch = image[:, top : top + PATCH, left : left + PATCH]
                found.append(torch.stack([patch, patch], dim=1).flatten())
    return torch.stack(found)


def grids(num_images, height, width):
    return torch.tensor([[1, height // PATCH, width // PATCH]] * num_images)


def images_of(pixels_BICHW):
    """What the library is given for these images."""
    images = pixels_BICHW.flatten(0, 1)
    return {
        "pixel_values": patches(images),
        "image_grid_thw": grids(len(images), *images.shape[2:]),
    }


def given(pixels, ids):
    """All that the library is given for a prompt."""
    return {
        "input_ids": ids,
        "mm_token_type_ids": (ids == IMAGE).int(),
        **images_of(pixels),
    }


def projected(plain, pixels_ICHW):
    images = images_of(pixels_ICHW[None])
    return plain.get_image_features(**images).pooler_output


def turned_by(plain, layout):
    """The library's rotary positions [3, T] of one example's tokens."""

    def positions(ids):
        grid = grids(layout.num_images, *(tokens * TOKEN for tokens in layout.grid))
        is_visual = (ids == IMAGE).int()[None]
        return plain.model.get_rope_index(ids[None], is_visual, image_grid_thw=grid)[0][:, 0]

    return positions
