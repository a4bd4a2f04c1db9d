"""A Hugging Face model with a tokenizer beside it is spoken to in that tokenizer's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from orchestrator.measurement.models import build_method, open_backbone
from orchestrator.serving.analyst import Analyst
from orchestrator.serving.engine import Engine
from orchestrator.serving.messages import Message
from orchestrator.serving.text import HuggingFace
from store.releases.release import Release, release_of
from store.repository import Store
from tests.measured import measured_store
from tests.models import save_llama
from tests.orchestrator.serving.conftest import InProcess, alone, running

SWEEP = """
name: spoken
measure: {latency_pairs: 0}
keep: [1.0, 0.5]
workloads:
  own:
    task: {id: text, num_examples: 8, batch_size: 8, context_length: 64}
    backbone: {hf: own}
    methods: [identity, knorm]
    objectives: {kv: minimize, tokens: maximize}
"""
TEMPLATE = """{% for m in messages -%}
{% if m.role == 'tool' %}{{ raise_exception('no such role') }}{% endif -%}
<s>{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}<s>assistant:{% endif %}"""
SPECIAL = ("<s>", "</s>")


def save_tokenizer(folder: Path) -> None:
    """Words of two letters where there are any, else bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("i", "n")]
    words = [*SPECIAL, *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    saved.chat_template = TEMPLATE
    saved.save_pretrained(folder)


def spaced_words() -> tuple[Any, dict[str, int]]:
    """As Llama 2's: a word begins with its space, which the first that is decoded loses."""
    words = {w: n for n, w in enumerate(["<s>", "</s>", "▁It", "▁is", "▁in", "▁Paris", "."])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    spaces = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(spaces)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>"), words


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> tuple[Release, Store]:
    folder = tmp_path_factory.mktemp("spoken")
    save_llama(
        folder / "own",
        vocab_size=320,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
    )
    save_tokenizer(folder / "own")
    store = measured_store(folder, SWEEP)
    return release_of(store, "spoken"), store


@pytest.fixture(scope="module")
def client(release: tuple[Release, Store]) -> Iterator[openai.OpenAI]:
    served, store = release
    analyst: Any = Analyst(store.url, served.sweep)
    with (
        running(alone(served, InProcess(Engine(served)), analyst)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def tokenizer(release: tuple[Release, Store]) -> Any:
    (workload,) = release[0].workloads
    return AutoTokenizer.from_pretrained(workload.configurations[0].spec.backbone.path)


def directly(configuration: Any, tokens: list[int], most: int) -> list[int]:
    spec, backbone = configuration.spec, open_backbone(configuration.spec.backbone)
    prompt = torch.tensor([tokens])
    with backbone.compressed(build_method(spec), spec.schedule, spec.keep_ratio, spec.seed):
        return backbone.generate(prompt, prompt[:, :0], most)[0].tolist()


def test_models_say_whose_tokenizer_and_template_they_have(client) -> None:
    card = client.models.retrieve("own:auto")
    assert "own" in card.tokenizer
    assert card.chat_template == "the tokenizer's own template"


def test_texts_are_the_tokenizers(client, release, tokenizer) -> None:
    prompt = "something in the thing, naïve thinking " * 3
    for configuration in release[0].configurations:
        answer = client.completions.create(model=configuration.trial, prompt=prompt, max_tokens=16)
        tokens = tokenizer(prompt)["input_ids"]
        assert answer.usage.prompt_tokens == len(tokens) < len(prompt.encode())
        expected = directly(configuration, tokens, 16)
        assert answer.choices[0].text == tokenizer.decode(expected, skip_special_tokens=True)
        stream = client.completions.create(
            model=configuration.trial, prompt=prompt, max_tokens=16, stream=True
        )
        assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text


def test_a_chat_is_written_by_the_template(client, release, tokenizer) -> None:
    messages = [
        {"role": "system", "content": "Be brief, think of everything and then of nothing."},
        {"role": "user", "content": "What is in the thing?"},
        {"role": "assistant", "content": "nothing"},
        {"role": "user", "content": "Think again."},
    ]
    tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    for configuration in release[0].configurations:
        answer = client.chat.completions.create(
            model=configuration.trial, messages=messages, max_tokens=12
        )
        assert answer.usage.prompt_tokens == len(tokens)
        expected = tokenizer.decode(directly(configuration, tokens, 12), skip_special_tokens=True)
        assert answer.choices[0].message.content == expected


def test_what_the_template_refuses_is_a_400(client) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="own:auto", messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}]
        )
    assert refused.value.body["message"]


def test_half_a_surrogate_pair_is_a_question_mark(tokenizer) -> None:
    codec = HuggingFace(tokenizer, "own")
    assert codec.encode("the \ud800 thing") == codec.encode("the ? thing")
    torn, whole = ([Message("user", f"the {mark}", ())] for mark in ("\ud800", "?"))
    assert codec.dialogue(torn) == codec.dialogue(whole)


def test_a_completion_keeps_the_space_of_its_first_word_and_a_chat_begins_without() -> None:
    tokenizer, words = spaced_words()
    codec = HuggingFace(tokenizer, "own")
    before, answer = codec.encode("It is in"), [words["▁Paris"], words["."], words["▁It"]]
    for prompt, expected in ((before, " Paris. It"), (before * 9, " Paris. It"), ([], "Paris. It")):
        decoder = codec.decoder(prompt)
        assert "".join(map(decoder.step, answer)) + decoder.flush() == expected
