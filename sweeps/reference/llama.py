"""What the recipes of small Llamas share: form, induction first, a loss on answers, exact match.

Shapes: B sequences, T tokens, V words.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from sweeps.data.contexts import FIRST_FILLER, FIRST_KEY, START, Ints

Bools = NDArray[np.bool_]
AT_ONCE = 64  # examples that are decoded together


class Form(Protocol):
    """The part of a recipe that says how large the network is."""

    @property
    def hidden_size(self) -> int: ...  # noqa: D102
    @property
    def intermediate_size(self) -> int: ...  # noqa: D102
    @property
    def depth(self) -> int: ...  # noqa: D102
    @property
    def heads(self) -> int: ...  # noqa: D102
    @property
    def kv_heads(self) -> int: ...  # noqa: D102
    @property
    def max_position_embeddings(self) -> int: ...  # noqa: D102
    @property
    def initializer_range(self) -> float: ...  # noqa: D102


class Asked(Protocol):
    """Examples of which the answer is decoded."""

    @property
    def context(self) -> Ints: ...  # noqa: D102
    @property
    def question(self) -> Ints: ...  # noqa: D102
    @property
    def answer(self) -> Ints: ...  # noqa: D102


def config(form: Form, vocab_size: int, **special_tokens: int) -> LlamaConfig:
    """A Llama of that form; `special_tokens` as LlamaConfig calls them (`bos_token_id`)."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=form.hidden_size,
        intermediate_size=form.intermediate_size,
        num_hidden_layers=form.depth,
        num_attention_heads=form.heads,
        num_key_value_heads=form.kv_heads,
        max_position_embeddings=form.max_position_embeddings,
        tie_word_embeddings=True,
        initializer_range=form.initializer_range,
        **special_tokens,
    )


def repeats(
    rng: np.random.Generator, count: int, shortest: int, longest: int
) -> tuple[Ints, Bools]:
    """A start token and a sequence of different keys, twice, [B, T]; its second copy is asked.

    One copy takes `shortest` to `longest` tokens, equally many in a batch.
    """
    length = int(rng.integers(shortest, longest + 1))
    alphabet = np.arange(FIRST_KEY, FIRST_FILLER)
    sequence = rng.permuted(np.tile(alphabet, (count, 1)), axis=1)[:, :length]
    start = np.full((count, 1), START)
    tokens = np.concatenate([start, sequence, sequence], axis=1)
    asked = np.zeros(tokens.shape, bool)
    asked[:, length + 2 :] = True
    return tokens, asked


def answer_loss(
    model: LlamaForCausalLM, tokens_BT: Tensor, asked_BT: Tensor, filler_share: float
) -> tuple[Tensor, float]:
    """Loss on answers plus a share on filler; and the share of answer tokens that are right."""
    target_BT, asked = tokens_BT[:, 1:], asked_BT[:, 1:]
    logits_BTV = model(tokens_BT).logits[:, :-1]
    loss_BT = functional.cross_entropy(logits_BTV.transpose(1, 2), target_BT, reduction="none")
    loss = loss_BT[asked].mean()
    filler = target_BT >= FIRST_FILLER
    if filler.any():
        loss = loss + filler_share * loss_BT[filler].mean()
    correct = (logits_BTV.argmax(-1) == target_BT)[asked].float().mean()
    return loss, correct.item()


@torch.inference_mode()
def greedy(model: LlamaForCausalLM, prompt_BT: Tensor, num_new: int) -> Tensor:
    """The most likely tokens after each prompt: [B, num_new]."""
    output = model(prompt_BT, use_cache=True)
    chosen = [output.logits[:, -1].argmax(-1)]
    while len(chosen) < num_new:
        output = model(chosen[-1][:, None], past_key_values=output.past_key_values, use_cache=True)
        chosen.append(output.logits[:, -1].argmax(-1))
    return torch.stack(chosen, dim=1)


@torch.inference_mode()
def exact_match(model: LlamaForCausalLM, examples: Asked) -> float:
    """Share of the examples whose whole answer is decoded, greedily, in 0..1."""
    count, right = len(examples.answer), 0
    for start in range(0, count, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        prompt = np.concatenate([examples.context[part], examples.question[part]], axis=1)
        answer = torch.from_numpy(examples.answer[part])
        found = greedy(model, torch.from_numpy(prompt), answer.shape[1])
        right += int((found == answer).all(-1).sum())
    return right / count
