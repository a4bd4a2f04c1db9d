"""Vision-language models of the Qwen2-VL and Qwen2.5-VL families.

Visual tokens are cut as :mod:`methods.backbones.vision_language` says. Images have any resolution:
each 28 x 28 pixels (2 x 2 patches of 14) are one token, and the layout says how many rows and
columns. All images of a batch have one size; a video's frames are read as images, each for itself.

Rotary positions have three parts (multimodal RoPE, arXiv:2409.12191, section 2.1): text counts all
three up together; the tokens of an image share the first and differ by row and column, and text
goes on behind the largest of them. What is cut changes none of it.

Patches inside the tower cannot be reduced here: every token needs its 2 x 2 patches side by side
until the merger, and Qwen2.5-VL's windows are cut from the whole grid.

Shapes: B examples, S tokens, T prompt tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from methods.backbones.qwen_vl_images import PatchedImages
from methods.backbones.reading import DECODER_PLACES
from methods.backbones.vision_language import VisionLanguageBackbone
from methods.backbones.visual_sequence import RotaryPositions, VisualSequence
from methods.base import Method, TokenMethod
from methods.places import Place


class QwenVLBackbone(VisionLanguageBackbone):
    """A tower without class token, a merger of 2 x 2 patches and a Qwen2 decoder."""

    places: ClassVar[tuple[Place, ...]] = ("vlm", "kv", *DECODER_PLACES)
    architectures: ClassVar[tuple[str, ...]] = (
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
    )
    model_class: ClassVar[str] = "AutoModelForImageTextToText"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._images = PatchedImages(self.model)

    @classmethod
    def why_not(cls, config: dict[str, Any], method: Method) -> str | None:
        """Methods that need a class token, and what the language model cannot do."""
        if isinstance(method, TokenMethod) and method.needs_cls:
            return (
                f"{method.id()} reads the class token's attention; the vision tower of "
                f"{config['model_type']} has no class token"
            )
        return super().why_not(config, method)

    @classmethod
    def shortened(cls, config: dict[str, Any], layers: int) -> dict[str, Any]:
        """As in any model; published files hold the language model's part at the top."""
        nested = cls.depth_in in config
        return (
            super().shortened(config, layers) if nested else {**config, "num_hidden_layers": layers}
        )

    @property
    def _reader(self) -> PatchedImages:
        return self._images

    def _rotary_positions(self, sequence: VisualSequence) -> RotaryPositions:
        return MultimodalPositions.of(sequence)


@dataclass(frozen=True)
class MultimodalPositions:
    """Rotary positions of a prompt, long [3, T]: time, row and column of every token."""

    prompt_3T: Tensor

    @classmethod
    def of(cls, sequence: VisualSequence) -> MultimodalPositions:
        """Of the whole prompt, whatever is left of it."""
        layout, visual_I = sequence.layout, sequence.visual_I
        rows, columns = layout.grid
        is_text_T = torch.ones(
            len(visual_I) + len(sequence.text_Q), dtype=torch.long, device=visual_I.device
        )
        is_text_T[visual_I] = 0
        # A text token moves what is behind it by 1, an image by its longer side.
        steps_T = is_text_T.clone()
        steps_T[visual_I[layout.per_image - 1 :: layout.per_image]] = max(rows, columns)
        prompt_3T = (steps_T.cumsum(0) - steps_T).repeat(3, 1)
        place_P = torch.arange(layout.per_image, device=visual_I.device).repeat(layout.num_images)
        prompt_3T[1, visual_I] += place_P // columns
        prompt_3T[2, visual_I] += place_P % columns
        return cls(prompt_3T)

    def __call__(self, positions_BS: Tensor) -> Tensor:
        """[3, B, S]; behind the prompt, all three count up from the largest."""
        num_prompt = self.prompt_3T.shape[1]
        within_3BS = self.prompt_3T[:, positions_BS.clamp(max=num_prompt - 1)]
        behind_BS = positions_BS - num_prompt + self.prompt_3T.max() + 1
        return torch.where(positions_BS < num_prompt, within_3BS, behind_BS)
