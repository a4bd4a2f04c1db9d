"""Shapes of tiny models: the shipped ones, narrower and shorter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sweeps.models import configs

NARROW: dict[str, dict[str, Any]] = {
    "deit-b": {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2},
    "llama-3-8b": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 100,
    },
}


_OF_QWEN = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


def save_shape(folder: Path, name: str, **more: Any) -> Path:
    """The shipped shape as a narrow one; returns its file."""
    config = json.loads(configs()[name].read_text())
    if name == "llava-1.5-7b":
        config["text_config"] |= NARROW["llama-3-8b"]
        config["vision_config"] |= {**NARROW["deit-b"], "image_size": 56, "num_hidden_layers": 3}
        config["image_token_index"] = 99
    elif name == "qwen2.5-vl-7b":
        narrow = {key: NARROW["llama-3-8b"][key] for key in _OF_QWEN}
        rotary = {"rope_type": "default", "mrope_section": [1, 1, 2]}
        config["text_config"] |= {**narrow, "rope_parameters": rotary}
        tower: dict[str, Any] = {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "depth": 2,
        }
        tower |= {"out_hidden_size": narrow["hidden_size"], "fullatt_block_indexes": [1]}
        config["vision_config"] |= tower
        config["image_token_id"] = 99
    else:
        config |= NARROW[name]
    file = folder / f"{name}-narrow.json"
    file.write_text(json.dumps(config | more))
    return file
