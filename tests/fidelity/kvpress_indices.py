"""Ask kvpress which cache entries its presses keep, and store the answers in ``expected.json``.

``make fidelity`` runs it in an environment of its own. What is stored is what the cache holds after
the press was at work: the position of every key that is left, or, for presses that only mask, of
every key that is not masked.

A table that a rounding error could change would fail on the next processor: the script accepts no
case in which the model in double precision keeps other entries.
"""

import json
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path

import kvpress
import torch
from inputs import MODELS, fingerprint, prompts
from transformers import DynamicCache
from transformers.utils import logging

TABLE = Path(__file__).with_name("expected.json")
KEEP_RATIOS = (0.5, 0.25, 0.125, 0.0625)

WINDOW = {"window_size": 4, "kernel_size": 5}
EVEN, FREE = {"alpha_safeguard": 1.0}, {"alpha_safeguard": 0.0}
PRESSES = [
    ("KnormPress", {}, KEEP_RATIOS),
    ("KeyDiffPress", {}, KEEP_RATIOS),
    ("StreamingLLMPress", {"n_sink": 4}, KEEP_RATIOS),
    ("StreamingLLMPress", {"n_sink": 0}, KEEP_RATIOS),
    ("TOVAPress", {}, KEEP_RATIOS),
    ("SnapKVPress", WINDOW, KEEP_RATIOS),
    ("SnapKVPress", {"window_size": 2, "kernel_size": 1}, KEEP_RATIOS),
    ("PyramidKVPress", {"window_size": 2, "kernel_size": 5, "beta": 2}, KEEP_RATIOS),
    ("ObservedAttentionPress", {}, KEEP_RATIOS),
    ("AdaKVPress", {"press": "KeyDiffPress"} | FREE, KEEP_RATIOS),
    ("AdaKVPress", {"press": "KeyDiffPress"} | EVEN, KEEP_RATIOS),
    ("AdaKVPress", {"press": "SnapKVPress", "window_size": 32} | FREE, (0.5,)),
    ("AdaKVPress", {"press": "SnapKVPress", "window_size": 16} | FREE, (0.25,)),
]
"""Press, parameters, ratios; the test says why these parameters."""


def build(name, params, keep_ratio):
    """The press, ready to be attached."""
    press_class, ratio = getattr(kvpress, name), 1 - keep_ratio
    if name != "AdaKVPress":
        return press_class(compression_ratio=ratio, **params)
    inner = {k: v for k, v in params.items() if k not in ("press", "alpha_safeguard")}
    return press_class(
        build(params["press"], inner, keep_ratio), alpha_safeguard=params["alpha_safeguard"]
    )


def keys_after(model, tokens, press=None):
    """Keys [B, H, S, D] of every layer once the prompt was read."""
    cache = DynamicCache()
    with torch.no_grad():
        if press is None:
            model.model(input_ids=tokens, past_key_values=cache)
        else:
            with press(model):
                model.model(input_ids=tokens, past_key_values=cache)
    return [layer.keys for layer in cache.layers]


def kept(model, press):
    """Positions kept, ascending: lists by layer, prompt and head."""
    tokens = prompts(model)
    whole = keys_after(model, tokens)
    left = keys_after(model, tokens, press)
    layers = [layer.self_attn for layer in model.model.layers]
    return [positions(*layer) for layer in zip(layers, whole, left, strict=True)]


def positions(attention, whole_BHND, left_BHKD):
    """Where the keys that are left stood, by prompt and head."""
    same_BHKN = (left_BHKD[:, :, :, None] == whole_BHND[:, :, None]).all(-1)
    assert (same_BHKN.sum(-1) == 1).all(), "a key that is left is none of the prompt's, or two"
    is_kept_BHN = same_BHKN.any(2)
    masked = getattr(attention, "masked_key_indices", None)
    if masked is not None:
        is_kept_BHN[masked] = False
    return [[head.nonzero()[:, 0].tolist() for head in heads] for heads in is_kept_BHN]


@cache
def opened(name, attention, dtype):
    return MODELS[name](attention).to(dtype)


def cases():
    """Every press at every ratio on every model."""
    for model, (press, params, keep_ratios) in product(MODELS, PRESSES):
        # this press reads the attention that the model itself computes
        attention = "eager" if press == "ObservedAttentionPress" else "sdpa"
        for keep_ratio in keep_ratios:
            single, double = (
                kept(opened(model, attention, dtype), build(press, params, keep_ratio))
                for dtype in (torch.float32, torch.float64)
            )
            assert single == double, f"rounding decides {press} at {keep_ratio} on {model}"
            case = {"model": model, "press": press, "params": params, "keep_ratio": keep_ratio}
            yield case | {"kept": single}


def main():
    logging.disable_progress_bar()
    models = {name: opened(name, "sdpa", torch.float32) for name in MODELS}
    table = {
        "versions": {name: version(name) for name in ("kvpress", "transformers", "torch")},
        "weights": {name: fingerprint(model) for name, model in models.items()},
        "prompts": {name: prompts(model).tolist() for name, model in models.items()},
    }
    head = json.dumps(table, indent=1)[:-2]
    lines = ",\n  ".join(json.dumps(case, separators=(",", ":")) for case in cases())
    TABLE.write_text(f'{head},\n "cases": [\n  {lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
