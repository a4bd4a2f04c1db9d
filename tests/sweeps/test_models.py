from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from sweeps import models
from sweeps.models import MissingSeedError, ModelError, open_hugging_face, open_reference


def opened(name: object, base: Path, revision: str | None = None) -> models.Model:
    return open_hugging_face(str(name), revision, "float32", base)


@pytest.fixture
def copy(vit_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(vit_folder, tmp_path / "copy"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache of our own, and no hub."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    models._hub_config.cache_clear()
    return cache


def cached(hub: Path, folder: Path, commit: str = "c" * 40) -> Path:
    """Put a model into the cache the way the hub's client does."""
    repository = hub / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(folder, repository / "snapshots" / commit))


def test_a_fingerprint_is_of_contents_and_not_of_places(vit_folder: Path, copy: Path) -> None:
    assert models.fingerprint(copy) == models.fingerprint(vit_folder)


def test_a_fingerprint_follows_every_change(copy: Path) -> None:
    seen = {models.fingerprint(copy)}
    weights = load_file(copy / "model.safetensors")
    first = next(iter(weights))
    save_file(weights | {first: weights[first] + 1}, copy / "model.safetensors")
    seen.add(models.fingerprint(copy))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    seen.add(models.fingerprint(copy))
    save_file({first: weights[first]}, copy / "more.safetensors")
    seen.add(models.fingerprint(copy))
    assert len(seen) == 4


def test_paths_are_relative_to_the_sweep_file(copy: Path) -> None:
    assert opened("./copy", copy.parent).weights.path == str(copy)
    assert opened("copy", copy.parent).weights.name == "copy"
    with pytest.raises(ModelError, match="there is no model directory"):
        opened("./copy", copy)


def test_pickled_weights_are_refused_with_the_way_out(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*save_pretrained"):
        opened(copy, copy)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*save_pretrained"):
        opened(copy / "pytorch_model.bin", copy)


def test_broken_models_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(ModelError, match="not an intact safetensors file"):
        opened(copy, copy)
    weights.unlink()
    with pytest.raises(ModelError, match=r"holds no \*\.safetensors weights"):
        opened(copy, copy)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_configs_that_are_no_objects_are_refused(copy: Path, content: bytes) -> None:
    (copy / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        opened(copy, copy)


@pytest.mark.parametrize(
    "name", ["", "..", "~nobody-here/x", "a" * 5000, "a\0b", "/", "a/b/c", "a--b/c"]
)
def test_odd_names_are_refused_in_words(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        opened(name, tmp_path)


def test_a_revision_is_for_hub_ids(copy: Path) -> None:
    with pytest.raises(ModelError, match="a revision is for hub ids"):
        opened(copy, copy, "main")


def test_a_cached_hub_model_is_pinned_to_its_commit(hub: Path, vit_folder: Path) -> None:
    cached(hub, vit_folder)
    model = opened("org/tiny", hub)
    assert (model.weights.path, model.weights.revision) == ("org/tiny", "c" * 40)
    assert model.config["architectures"] == ["ViTForImageClassification"]
    assert opened("org/tiny", hub, "main").weights.fingerprint == model.weights.fingerprint


def test_a_hub_model_that_nobody_has_is_one_sentence(hub: Path) -> None:
    with pytest.raises(ModelError, match="org/tiny is neither a directory, nor in the") as caught:
        opened("org/tiny", hub)
    assert "\n" not in str(caught.value)


def test_cached_pickled_weights_are_refused(hub: Path, vit_folder: Path) -> None:
    snapshot = cached(hub, vit_folder)
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(ModelError, match="org/tiny holds pickled weights"):
        opened("org/tiny", hub)


@pytest.mark.parametrize(
    "backbone", [name for name, found in models.references().items() if found.seeds]
)
def test_reference_weights_open_from_anywhere(backbone: str) -> None:
    seed = models.references()[backbone].seeds[0]
    model = open_reference(backbone, seed)
    assert not Path(model.weights.path).is_absolute()
    assert Path(models.location(model.weights), "model.safetensors").is_file()
    assert models.references()[backbone].summary


def test_seeds_that_were_not_trained_are_named() -> None:
    with pytest.raises(MissingSeedError, match=r"vit-digits has no weights for seed 9999.*train"):
        open_reference("vit-digits", 9999)
