"""A trained model that tests of methods share."""

import pytest
import torch

from methods.backbones.causal_lm import CausalLMBackbone
from sweeps.models import location, open_reference


@pytest.fixture(scope="session")
def recall_model() -> CausalLMBackbone:
    """The reference decoder of the recall task, seed 0."""
    weights = open_reference("llama-recall", 0).weights
    return CausalLMBackbone.load(location(weights), None, torch.float32)
