"""shape-kv: what reading a long prompt and answering costs in a decoder language model.

Prompts are random tokens of the model's vocabulary and no answer is judged, so that the weights may
be random: measure costs, not quality. The cache is compressed once the prompt was read;
`new_tokens` are then generated over it.

Data: none; tokens are drawn uniformly, always the same.

Shapes: B prompts of T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from methods.backbones.causal_lm import CausalLMBackbone
from methods.places import Place
from sweeps.tasks._fit import too_long
from sweeps.tasks._shape import ShapeTask, tokens


@dataclass(frozen=True)
class PromptsBatch:
    """Prompts of one forward pass."""

    prompt: Tensor  # int64 [B, T]

    def __len__(self) -> int:
        return len(self.prompt)


class ShapeKV(ShapeTask[CausalLMBackbone, PromptsBatch]):
    """Prompts of random tokens."""

    id: ClassVar[str] = "shape-kv"
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "kv"

    prompt_length: int = Field(default=2048, ge=2, description="Tokens of a prompt.")
    new_tokens: int = Field(default=4, ge=1, description="Tokens generated after it.")

    @property
    def answer_length(self) -> int:
        """Tokens generated after the prompt."""
        return self.new_tokens

    def num_tokens(self, config: dict[str, Any]) -> int:  # noqa: ARG002 - the same for any model
        """Cache entries when it is compressed; the prompt's last token comes after."""
        return self.prompt_length - 1

    def incompatible_with(self, config: dict[str, Any]) -> str | None:
        """The model needs room for prompt and answer."""
        return too_long(self.id, self.prompt_length + self.new_tokens, config)

    def drawn(self, config: Any) -> PromptsBatch:
        """Tokens of the model's vocabulary."""
        return PromptsBatch(tokens((self.batch_size, self.prompt_length), config.vocab_size))

    def answer(self, backbone: CausalLMBackbone, batch: PromptsBatch) -> Tensor:
        """Tokens generated, [B, new_tokens]."""
        prompt = batch.prompt.to(backbone.device)
        return backbone.generate(prompt, prompt[:, :0], self.new_tokens)
