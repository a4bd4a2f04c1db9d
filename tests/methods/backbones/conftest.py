"""Tiny random LLaVAs and Qwen-VLs."""

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from methods.backbones.llava import LlavaBackbone
from methods.backbones.qwen_vl import QwenVLBackbone
from tests.methods.backbones.llava_models import TEXT_MODELS, config_of
from tests.methods.backbones.qwen_vl_models import FAMILIES, random_model


@pytest.fixture(scope="session")
def llava_folders(tmp_path_factory):
    """A randomly initialised model per kind of language model, saved to disk."""
    found = {}
    for model_type in TEXT_MODELS:
        torch.manual_seed(0)
        found[model_type] = tmp_path_factory.mktemp(model_type)
        LlavaForConditionalGeneration(config_of(model_type)).save_pretrained(found[model_type])
    return found


@pytest.fixture(scope="session")
def plains(llava_folders):
    """The library's own models."""
    return {
        model_type: LlavaForConditionalGeneration.from_pretrained(folder).eval()
        for model_type, folder in llava_folders.items()
    }


@pytest.fixture(scope="session")
def llavas(llava_folders):
    """The same models, opened to be compressed."""
    return {
        model_type: LlavaBackbone.load(str(folder), None, torch.float32)
        for model_type, folder in llava_folders.items()
    }


@pytest.fixture(scope="session")
def eager(llava_folders):
    """The library's model that can report its attention."""
    return LlavaForConditionalGeneration.from_pretrained(
        llava_folders["llama"], attn_implementation="eager"
    ).eval()


@pytest.fixture(scope="session")
def plain_qwens():
    """The library's own models."""
    return {family: random_model(family) for family in FAMILIES}


@pytest.fixture(scope="session")
def qwens(tmp_path_factory):
    """The same models, saved to disk and opened to be compressed."""
    found = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        random_model(family).save_pretrained(folder)
        found[family] = QwenVLBackbone.load(str(folder), None, torch.float32)
    return found


@pytest.fixture
def llava(llavas):
    return llavas["llama"]


@pytest.fixture
def plain(plains):
    return plains["llama"]


@pytest.fixture
def qwen(qwens):
    return qwens["qwen2_5_vl"]


@pytest.fixture
def plain_qwen(plain_qwens):
    return plain_qwens["qwen2_5_vl"]
