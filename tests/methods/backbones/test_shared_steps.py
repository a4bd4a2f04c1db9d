"""Sequences decoded together get the answers, and hold the caches, that they have alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from methods import registry
from methods.backbones.causal_lm import CausalLMBackbone
from methods.backbones.shared_steps import Alone, SharedSteps, Steps
from methods.schedule import Uniform

METHODS = ("identity", "snapkv", "adakv", "kivi", "quest", "oracle", "random", "d2o")
SETTINGS = {"quest": {"full_layers": 0, "page_size": 4}}
LENGTHS = (130, 87, 199, 90, 61, 75, 133, 40)


@pytest.fixture(scope="module")
def backbone(llama_folder: Path) -> CausalLMBackbone:
    return CausalLMBackbone.load(str(llama_folder), None, torch.float32)


def answered(
    backbone: CausalLMBackbone, method: str, length: int, steps: Steps
) -> tuple[list[int], int, list[int]]:
    """Tokens, bytes and entries of one prompt's answer."""
    prompt_1T = torch.randint(0, 256, (1, length), generator=torch.Generator().manual_seed(length))
    twin, built = backbone.twin(), registry.build(method, SETTINGS.get(method, {}))
    keep_ratio = 1.0 if method == "identity" else built.fixed_ratio or 0.3
    with twin.stepping(steps), twin.compressed(built, Uniform(), keep_ratio, 0) as compression:
        tokens = twin.generate(prompt_1T, prompt_1T[:, :0], 12 + length % 7)[0].tolist()
    return tokens, compression.kv_bytes, compression.tokens_per_layer


@contextmanager
def batch_sizes(backbone: CausalLMBackbone) -> Iterator[list[int]]:
    """Of the steps that are taken inside."""
    seen: list[int] = []

    def note(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[1] == 1:
            seen.append(len(inputs[0]))

    handle = backbone.model.model.embed_tokens.register_forward_pre_hook(note)
    yield seen
    handle.remove()


def test_lengths_methods_and_formats_share_every_step_and_no_answer_changes(backbone) -> None:
    alone = [answered(backbone, *call, Alone()) for call in zip(METHODS, LENGTHS, strict=True)]
    steps = SharedSteps()
    with batch_sizes(backbone) as sizes, ThreadPoolExecutor(len(METHODS)) as threads:
        with steps.decoding():  # a sequence that is slow to hand in its token
            asked = [
                threads.submit(answered, backbone, *call, steps)
                for call in zip(METHODS, LENGTHS, strict=True)
            ]
            while len(steps._waiting) < len(METHODS):
                time.sleep(0.001)
        together = [future.result() for future in asked]
    assert together == alone
    assert sizes[0] == len(METHODS)
    assert sum(sizes) == sum(len(tokens) for tokens, *_ in alone) + rehearsed(alone)
    assert len(sizes) < sum(sizes) / 4


def rehearsed(answers: list[tuple[list[int], int, list[int]]]) -> int:
    """Steps of the oracle's rehearsal."""
    return len(answers[METHODS.index("oracle")][0])


def test_a_sequence_that_is_alone_has_the_same_bits(backbone) -> None:
    prompt_1T = torch.arange(2, 60)[None]

    def logits(steps: Steps) -> torch.Tensor:
        twin = backbone.twin()
        with twin.stepping(steps), twin.uncompressed():
            return twin.continuation_logits(prompt_1T, prompt_1T[:, :0])

    assert torch.equal(logits(SharedSteps()), logits(Alone()))


def test_one_that_fails_leaves_the_others_free_to_go_on(backbone) -> None:
    steps = SharedSteps()

    def fails() -> None:
        with steps.decoding():
            raise RuntimeError("gone")

    with ThreadPoolExecutor(1) as threads, steps.decoding():
        waiting = threads.submit(answered, backbone, "snapkv", 50, steps)
        with pytest.raises(RuntimeError, match="gone"):
            fails()
    assert waiting.result() == answered(backbone, "snapkv", 50, Alone())


def test_taps_are_those_of_the_thread_that_attached_them(backbone) -> None:
    twin = backbone.twin()
    whole = answered(backbone, "identity", 50, Alone())
    with (
        twin.compressed(registry.build("knorm", {}), Uniform(), 0.2, 0),
        ThreadPoolExecutor(1) as threads,
    ):
        assert threads.submit(answered, backbone, "identity", 50, Alone()).result() == whole
        twin.generate(torch.arange(2, 30)[None], torch.empty(1, 0, dtype=torch.long), 2)
