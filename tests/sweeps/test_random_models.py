"""Shapes with random weights: which there are, what makes two of them equal, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from methods.backbones.registry import adapter_for
from sweeps import models
from sweeps.models import ModelError, open_random
from sweeps.trial import RandomWeights, TrialSpec
from tests.shapes import save_shape
from tests.store.examples import spec


def opened(
    name: str, layers: int | None = None, seed: int = 0, base: Path = Path()
) -> models.Model:
    return open_random(name, layers, "float32", seed, base)


def fingerprint(name: str, layers: int | None = None, seed: int = 0, base: Path = Path()) -> str:
    return opened(name, layers, seed, base).weights.fingerprint


@pytest.mark.parametrize("name", models.configs())
def test_a_backbone_opens_every_shipped_shape(name: str) -> None:
    config = opened(name).config
    assert adapter_for(config).layers_in(config) in (12, 28, 32)
    assert f"| `{name}` |" in (models.CONFIGS / "README.md").read_text()


def test_depth_is_cut_and_the_name_says_so() -> None:
    llama, llava = opened("llama-3-8b", 2), opened("llava-1.5-7b", 3)
    assert llama.weights.name == "llama-3-8b, 2 of 32 layers, random weights"
    assert llama.config["num_hidden_layers"] == 2
    assert llava.config["text_config"]["num_hidden_layers"] == 3
    assert llava.config["vision_config"]["num_hidden_layers"] == 24
    qwen = opened("qwen2.5-vl-7b", 2)
    assert qwen.weights.name == "qwen2.5-vl-7b, 2 of 28 layers, random weights"
    assert (
        qwen.config["text_config"]["num_hidden_layers"],
        qwen.config["vision_config"]["depth"],
    ) == (2, 32)
    assert opened("deit-b").weights.name == "deit-b, random weights"


def test_a_fingerprint_is_of_shape_and_seed(tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(json.loads(models.configs()["deit-b"].read_text())))
    assert fingerprint("copy.json", base=tmp_path) == fingerprint("deit-b")
    different = [fingerprint("deit-b", *rest) for rest in ((None, 0), (None, 1), (2, 0))]
    assert len({*different, fingerprint("deit-b-384")}) == 4


def test_a_directory_is_a_shape_too_and_needs_no_weights(tmp_path: Path) -> None:
    save_shape(tmp_path, "deit-b").rename(tmp_path / "config.json")
    assert opened(".", base=tmp_path).config["hidden_size"] == 16


@pytest.mark.parametrize(
    ("name", "layers", "sentence"),
    [
        ("lama-3-8b", None, r"unknown config 'lama-3-8b'; did you mean 'llama-3-8b'\? \(choices: "),
        ("llama-3-8b", 33, "layers 33: llama-3-8b has only 32"),
        ("nowhere.json", None, "nowhere.json is not readable JSON"),
        ("bare.json", None, "bare.json names no model_type"),
    ],
)
def test_what_is_no_shape_is_refused(
    name: str, layers: int | None, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "bare.json").write_text("{}")
    with pytest.raises(ModelError, match=sentence):
        opened(name, layers, base=tmp_path)


def test_trials_that_measure_quality_keep_the_ids_they_had() -> None:
    assert spec().id == "0fcc6b31fee0fd09"


def test_a_trial_over_random_weights_survives_json() -> None:
    weights = opened("deit-b", 2).weights
    trial = spec().model_copy(update={"backbone": weights})
    again = TrialSpec.model_validate_json(trial.model_dump_json())
    assert again == trial
    assert isinstance(again.backbone, RandomWeights)
    assert (again.id, spec().id == again.id) == (trial.id, False)


def test_a_copy_with_other_values_is_another_trial() -> None:
    trial = spec()
    before = trial.id
    method = trial.method.model_copy(update={"version": 99})
    assert method.canonical != trial.method.canonical
    assert trial.model_copy(update={"method": method}).id != before
    assert trial.model_copy(update={"seed": 99}).id != before
    assert trial.model_copy().id == before
