"""Untrained Hugging Face models on disk, the same bits every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, ViTConfig, ViTForImageClassification


def save_vit(folder: Path, **settings: Any) -> Path:
    """A vision transformer; ``settings`` as ViTConfig calls them. Returns its folder."""
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(**settings)).save_pretrained(folder)
    return folder


def save_llama(folder: Path, **settings: Any) -> Path:
    """A Llama; ``settings`` as LlamaConfig calls them. Returns its folder."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    return folder
