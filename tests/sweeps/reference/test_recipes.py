import hashlib

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedImageModeling,
    CLIPModel,
)

from sweeps.reference.clip_scenes import recipe as clip_scenes
from sweeps.reference.llama_recall import recipe as llama_recall
from sweeps.reference.llama_text import recipe as llama_text
from sweeps.reference.llama_threads import recipe as llama_threads
from sweeps.reference.vit_dense import recipe as vit_dense
from sweeps.reference.vit_digits import recipe as vit_digits


@pytest.mark.parametrize(
    ("recipe", "auto", "budget"),
    [
        (vit_digits, AutoModelForImageClassification, 0.02),
        (llama_recall, AutoModelForCausalLM, 0.02),
        (llama_threads, AutoModelForCausalLM, 0.03),
        (llama_text, AutoModelForCausalLM, 0.01),
        (vit_dense, AutoModelForMaskedImageModeling, 0.02),
        (clip_scenes, CLIPModel, 0.02),
    ],
    ids=["vit-digits", "llama-recall", "llama-threads", "llama-text", "vit-dense", "clip-scenes"],
)
def test_a_short_training_lowers_the_loss_and_saves_a_loadable_model(
    recipe, auto, budget, tmp_path, monkeypatch
):
    monkeypatch.setattr(recipe, "EVALUATED", 4)
    lines, threads = [], torch.get_num_threads()
    result = recipe.train(0, tmp_path, lines.append, budget=budget)
    assert result["loss_last"] < result["loss_first"]
    assert 0 <= result["validation"] <= (8 if recipe is llama_text else 1)  # bits per byte
    assert lines
    assert torch.get_num_threads() == threads
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert auto.from_pretrained(tmp_path).dtype == torch.float32


def test_equal_seeds_give_equal_weights_and_other_seeds_others(tmp_path, monkeypatch):
    digests = []
    monkeypatch.setattr(llama_recall, "EVALUATED", 8)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        llama_recall.train(seed, tmp_path / name, lambda line: None, budget=0.005)
        weights = (tmp_path / name / "model.safetensors").read_bytes()
        digests.append(hashlib.sha256(weights).hexdigest())
    assert digests[0] == digests[1] != digests[2]
