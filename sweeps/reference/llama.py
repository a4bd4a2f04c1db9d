"""What the recipes of small Llamas share: induction first, a loss on answers, greedy decoding.

Shapes: B sequences, T tokens, V words.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from sweeps.data.contexts import FIRST_FILLER, FIRST_KEY, START, Ints

Bools = NDArray[np.bool_]


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
