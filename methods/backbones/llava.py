"""Vision-language models of the ``LlavaForConditionalGeneration`` family.

Visual tokens are cut as :mod:`methods.backbones.vision_language` says. Patches can be reduced
inside the tower before, as in :mod:`methods.backbones.vision_tower`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar

from torch import Tensor, nn

from methods.backbones.base import Compression, Stage
from methods.backbones.causal_lm import with_defaults
from methods.backbones.llava_images import Images
from methods.backbones.reading import DECODER_PLACES
from methods.backbones.vision_language import VisionLanguageBackbone
from methods.backbones.visual_sequence import RotaryPositions, VisualSequence
from methods.base import Method
from methods.places import Place


class LlavaBackbone(VisionLanguageBackbone):
    """A CLIP tower, a projector and a decoder of a family that CausalLMBackbone opens."""

    places: ClassVar[tuple[Place, ...]] = ("vlm", "kv", "vision", *DECODER_PLACES)
    architectures: ClassVar[tuple[str, ...]] = ("LlavaForConditionalGeneration",)
    model_class: ClassVar[str] = "LlavaForConditionalGeneration"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._images = Images(self.model)

    @classmethod
    def why_not(cls, config: dict[str, Any], method: Method) -> str | None:
        """Towers other than CLIP's and what the language model cannot do are out."""
        resolved = with_defaults(config)
        tower = resolved.vision_config.model_type
        if tower != "clip_vision_model":
            return f"its vision tower is a {tower}; only clip_vision_model is supported"
        if resolved.vision_feature_select_strategy != "default":
            return "it hands the class token to the language model as if it were a patch"
        return super().why_not(config, method)

    @classmethod
    def layers_at(cls, config: dict[str, Any], place: Place) -> int:
        """The vision tower's layers for patches, else the language model's."""
        if place == "vision":
            return int(with_defaults(config).vision_config.num_hidden_layers)
        return cls.layers_in(config)

    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """Cut patches, visual tokens or what any decoder has.

        See :meth:`methods.backbones.base.Backbone.attach`.
        """
        if stage.place == "vision":
            return self._images.attach(stage, seed, compression)
        return super().attach(stage, seed, compression)

    @property
    def _reader(self) -> Images:
        return self._images

    def _rotary_positions(self, sequence: VisualSequence) -> RotaryPositions:  # noqa: ARG002
        """Images are turned like text: every token by its place in the prompt."""
        return _as_they_are


def _as_they_are(positions_BS: Tensor) -> Tensor:
    return positions_BS
