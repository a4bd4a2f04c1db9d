"""Who listens to an answer hears the compressed model's own tokens, and may end it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from methods import registry
from methods.backbones.causal_lm import CausalLMBackbone
from methods.schedule import Uniform

PROMPT = torch.randint(0, 256, (1, 60), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def backbone(llama_folder: Path) -> CausalLMBackbone:
    return CausalLMBackbone.load(str(llama_folder), None, torch.float32)


def answered(backbone: CausalLMBackbone, method: str, most: int, listens_to: int = 99):
    heard: list[int] = []

    def listen(tokens_1Q: Tensor) -> bool:
        heard.extend(tokens_1Q[0].tolist())
        return len(heard) < listens_to

    built = registry.build(method, {})
    keep_ratio = built.fixed_ratio or 0.3
    with (
        backbone.compressed(built, Uniform(), keep_ratio, 0),
        backbone.heard(listen),
    ):
        given = backbone.generate(PROMPT, PROMPT[:, :0], most)[0].tolist()
    return given, heard


@pytest.mark.parametrize("method", ["snapkv", "knorm", "prompt-lookup", "oracle"])
def test_what_is_heard_is_the_answer(backbone, method) -> None:
    given, heard = answered(backbone, method, 24)
    assert heard == given
    assert len(given) == 24
    cut, heard = answered(backbone, method, 24, listens_to=5)
    assert cut == heard
    assert 5 <= len(cut) < 24
    assert cut == given[: len(cut)]
