from __future__ import annotations

from typing import Any

import pytest

from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.registry import adapter_for
from methods.backbones.vit import ViTBackbone


def test_the_architecture_chooses_the_adapter() -> None:
    assert adapter_for({"architectures": ["ViTForImageClassification"]}) is ViTBackbone
    assert adapter_for({"architectures": ["LlamaForCausalLM"]}) is CausalLMBackbone


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'LamaForCausalLM'; did you mean 'LlamaForCausalLM'"):
        adapter_for({"architectures": ["LamaForCausalLM"]})


@pytest.mark.parametrize("config", [{}, {"architectures": None}, {"architectures": [3]}])
def test_a_config_without_architecture_names_the_supported(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"supported: .*ViTForImageClassification"):
        adapter_for(config)
