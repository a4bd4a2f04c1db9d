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


def save_shape(folder: Path, name: str, **more: Any) -> Path:
    """The shipped shape as a narrow one; returns its file."""
    config = json.loads(configs()[name].read_text())
    if name == "llava-1.5-7b":
        config["text_config"] |= NARROW["llama-3-8b"]
        config["vision_config"] |= {**NARROW["deit-b"], "image_size": 56, "num_hidden_layers": 3}
        config["image_token_index"] = 99
    else:
        config |= NARROW[name]
    file = folder / f"{name}-narrow.json"
    file.write_text(json.dumps(config | more))
    return file
