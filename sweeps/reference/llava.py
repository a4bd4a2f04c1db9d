"""What the recipes of vision-language backbones share: packed questions, and answering.

A sequence is a prompt with the images' placeholders and then many questions, each followed by its
answer, so that one reading of the images teaches many of them. The tower is frozen, and images
reach the language model as features that it computed once.

Shapes: B sequences, I images, N tokens of an image, T tokens, Q questions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from sweeps.data import wording
from sweeps.data.dialogues import Dialogues
from sweeps.data.wording import IMAGE, QUESTION_LENGTH, Turn
from sweeps.reference import tower
from sweeps.reference.tower import SELECTED, TOKENS, TowerRecipe

TURN: Final = QUESTION_LENGTH + 1  # tokens of a question and its answer
POSITIONS: Final = 1024
MOST_IMAGES: Final = len(wording.FRAMES)
PLACE_SHARE: Final = 1.0  # weight of the loss of places beside that of answers


def config(recipe: TowerRecipe, text: LlamaConfig) -> LlavaConfig:
    """LLaVA-1.5's arrangement: features of the last layer but one, without the class token."""
    return LlavaConfig(
        vision_config=tower.config(recipe).to_dict(),
        text_config=text.to_dict(),
        image_token_id=IMAGE,
        vision_feature_layer=SELECTED,
        vision_feature_select_strategy="default",
        image_seq_length=TOKENS,
        tie_word_embeddings=False,
    )


def text_config(hidden_size: int, depth: int, heads: int, initializer_range: float) -> LlamaConfig:
    """A small Llama that knows the words of :mod:`sweeps.data.wording`."""
    return LlamaConfig(
        vocab_size=wording.VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
        pad_token_id=wording.PADDING,
        bos_token_id=wording.START,
        eos_token_id=wording.END,
        initializer_range=initializer_range,
    )


class Trainee(nn.Module):
    """Projector and language model that learn, and a head that is thrown away.

    The head reads from every visual token, behind the first layer, to which of the images it
    belongs. That is the word before the image, and answers that name an image or tell times need
    it in the tokens; without the head it is not found there for thousands of steps.
    """

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        model.model.vision_tower.requires_grad_(False)
        self.model = model
        self.places = nn.Linear(model.config.text_config.hidden_size, MOST_IMAGES)

    def learning(self) -> list[nn.Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def loss(
        self, features_BIND: Tensor, names: Sequence[str], turns: list[list[Turn]]
    ) -> tuple[Tensor, float]:
        """Cross-entropy of all answers and of the images' places, and the share right of answers.

        ``features_BIND`` are what the tower made of each sequence's images, called ``names``.
        """
        prompt_T = wording.prompt(names, TOKENS)
        questions_BQ3, answers_BQ = wording.packed(turns)
        asked_BQ4 = np.concatenate([questions_BQ3, answers_BQ[..., None]], axis=-1)
        prompt_BT = np.tile(prompt_T, (len(turns), 1))
        tokens_BT = np.concatenate([prompt_BT, asked_BQ4.reshape(len(turns), -1)], axis=1)
        first_BTD, last_BTD = self._read(torch.from_numpy(tokens_BT), features_BIND)
        asking_BQD = last_BTD[:, len(prompt_T) + QUESTION_LENGTH - 1 :: TURN]
        logits_BQV = self.model.lm_head(asking_BQD)
        target_BQ = torch.from_numpy(answers_BQ)
        correct = (logits_BQV.argmax(-1) == target_BQ).float().mean()
        loss = functional.cross_entropy(logits_BQV.flatten(0, 1), target_BQ.flatten())
        if len(names) > 1:
            visual_BMD = first_BTD[:, torch.from_numpy(prompt_T == IMAGE).nonzero()[:, 0]]
            loss = loss + PLACE_SHARE * self._place_loss(visual_BMD)
        return loss, correct.item()

    def _place_loss(self, visual_BMD: Tensor) -> Tensor:
        """Cross-entropy of naming each visual token's image by its number."""
        logits_BMK = self.places(visual_BMD)
        own_BM = (torch.arange(logits_BMK.shape[1]) // TOKENS).expand(len(logits_BMK), -1)
        return functional.cross_entropy(logits_BMK.flatten(0, 1), own_BM.flatten())

    def _read(self, tokens_BT: Tensor, features_BIND: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states behind the first layer and the last; placeholders stand for features."""
        model = self.model
        embedded_BTD = model.get_input_embeddings()(tokens_BT)
        projected_BIND = model.model.multi_modal_projector(features_BIND)
        visual_BT1 = (tokens_BT == IMAGE)[..., None].expand_as(embedded_BTD)
        mixed_BTD = embedded_BTD.masked_scatter(visual_BT1, projected_BIND)
        output = model.model.language_model(
            inputs_embeds=mixed_BTD, use_cache=False, output_hidden_states=True
        )
        return output.hidden_states[1], output.last_hidden_state


@torch.inference_mode()
def right_answers(model: LlavaForConditionalGeneration, dialogues: Dialogues) -> Tensor:
    """Whether each turn is answered right, after the model's own earlier answers: bool [B, Q]."""
    prompt_T = torch.from_numpy(wording.prompt(dialogues.names, TOKENS))
    pixels = torch.split(torch.from_numpy(dialogues.pixels), 32)
    questions = torch.split(torch.from_numpy(dialogues.questions), 32)
    guesses = [_guessed(model, *part, prompt_T) for part in zip(pixels, questions, strict=True)]
    return torch.cat(guesses) == torch.from_numpy(dialogues.answers)


def _guessed(
    model: LlavaForConditionalGeneration,
    pixels_BICSS: Tensor,
    questions_BQ3: Tensor,
    prompt_T: Tensor,
) -> Tensor:
    tokens_BT = prompt_T.expand(len(pixels_BICSS), -1)
    guesses = []
    for question_B3 in questions_BQ3.unbind(1):
        tokens_BT = torch.cat([tokens_BT, question_B3], dim=1)
        logits = model(input_ids=tokens_BT, pixel_values=pixels_BICSS.flatten(0, 1)).logits
        guesses.append(logits[:, -1:].argmax(-1))
        tokens_BT = torch.cat([tokens_BT, guesses[-1]], dim=1)
    return torch.cat(guesses, dim=1)
