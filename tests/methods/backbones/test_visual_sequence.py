"""Where texts and images stand in a prompt."""

from __future__ import annotations

import torch

from methods.backbones.visual_sequence import VisualSequence
from methods.contexts import VisualLayout


def test_texts_know_how_many_images_stand_before_them() -> None:
    # Two images of two tokens (9) with a word in front, one between and two behind.
    prompt_BT = torch.tensor([[1, 9, 9, 2, 9, 9, 3, 4]])
    sequence = VisualSequence.of(prompt_BT, 9, VisualLayout(2, (1, 2), "several"))
    assert sequence.images_before.tolist() == [0, 1, 2, 2]
    assert (sequence.images_before == 2).equal(sequence.question)
