"""Models and prompts that kvpress and our methods both read; imports nothing of this project.

Both sides run it, each in its own environment with its own transformers.
"""

import hashlib
import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

REFERENCE = Path(__file__).parents[2] / "sweeps" / "reference" / "llama_recall" / "seed-0"
NUM_PROMPTS, NUM_TOKENS = 2, 128

_QWEN3 = {
    "vocab_size": 160,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "eos_token_id": None,
}


def trained_llama(attention):
    """The shipped decoder: 3 layers, 4 query heads over 2 key/value heads."""
    return AutoModelForCausalLM.from_pretrained(
        REFERENCE, dtype=torch.float32, attn_implementation=attention
    ).eval()


def random_qwen3(attention):
    """5 layers, 6 query heads over 2 key/value heads, normalised queries and keys.

    Drawn parameter by parameter in the order of their names, because two releases of transformers
    need not draw the same from a seed; wide, so that attention is far from uniform.
    """
    model = Qwen3ForCausalLM(Qwen3Config(**_QWEN3, attn_implementation=attention)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * drawn + (parameter.ndim == 1))
    return model


MODELS = {"trained-llama": trained_llama, "random-qwen3": random_qwen3}


def prompts(model):
    """Token ids [NUM_PROMPTS, NUM_TOKENS].

    No token recurs in a prompt: in the first layer its keys would have the same norm, and a tie
    between them could be decided either way.
    """
    draw = random.Random(0)
    words = range(4, model.config.vocab_size)
    return torch.tensor([draw.sample(words, NUM_TOKENS) for _ in range(NUM_PROMPTS)])


def fingerprint(model):
    """Of the weights, rounded so that another processor's last bit does not count."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update((parameter.double() * 1e4).round().long().numpy().tobytes())
    return digest.hexdigest()[:16]
