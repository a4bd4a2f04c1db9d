"""What tasks share that compare coloured scenes with captions through a dual encoder."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.backbones.clip import CLIPBackbone
from methods.places import Place
from sweeps.data import captions
from sweeps.tasks._pictures import num_patches, scans_digest, unfit
from sweeps.tasks.base import BatchT, Task


class CaptionedTask(Task[CLIPBackbone, BatchT]):
    """A task on coloured scenes and captions of :mod:`sweeps.data.captions`."""

    place: ClassVar[Place] = "vision"

    def source_digests(self) -> list[str]:
        """Digest of scikit-learn's file of scans, uncompressed."""
        return [scans_digest()]

    def num_tokens(self, config: dict[str, Any]) -> int:
        """Patches of one scene; neither the class token nor the captions are compressed."""
        return num_patches(config["vision_config"])

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The task needs a dual encoder of 48x48 RGB images that knows the captions' words."""
        text, vision = config.get("text_config"), config.get("vision_config")
        if text is None or vision is None:
            return f"{self.id} needs a dual encoder with a text_config and a vision_config"
        words = text.get("vocab_size")
        if words != captions.VOCABULARY:
            return f"{self.id} needs the {captions.VOCABULARY} words of its captions; got {words}"
        return unfit(self.id, {"num_channels": 3} | vision)  # Hugging Face leaves three out


def cosines(backbone: CLIPBackbone, pixels_BCSS: Tensor, texts_GE: Tensor) -> Tensor:
    """Of every scene and every unit text embedding: float32 [B, G] on the CPU."""
    images_BE = backbone.image_embeddings(pixels_BCSS.to(backbone.device))
    return (images_BE @ texts_GE.T).cpu()


def trimmed(captions_GT: Tensor) -> Tensor:
    """Without the columns that are padding in every caption; the model's answers stay the same."""
    return captions_GT[:, : int((captions_GT != captions.PADDING).sum(-1).max())]


def written(tokens_T: Tensor) -> str:
    """A caption in words."""
    return captions.decode(tokens_T.numpy())


def encoded(texts: Any) -> Tensor:
    """Token ids [G, T] of captions from a request. Raises ValueError if they are none."""
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError("captions must be a list of at least one text")
    return torch.stack([torch.from_numpy(captions.encode(text)) for text in texts])
