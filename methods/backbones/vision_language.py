"""What vision-language models share: a tower, a projector, a decoder; visual tokens among the text.

Visual tokens are cut where they leave the projector and before any layer of the language model.
The language model's cache can be compressed behind, as in :mod:`methods.backbones.causal_lm`; each
place's keep ratio is the fraction of what reaches it. The prompt is read whole but for its last
token, which is read a second time, so that the first answer token too is decided by the compressed
state; later turns of the dialogue are fed over the same state.

Tokens keep the positions that they have in the prompt. Prompts of one batch have equal lengths and
hold their images at the same positions.

Shapes: B examples of I images, T prompt tokens, S tokens of a sequence, Q tokens fed later,
C colour channels, D channels, V words.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from methods.backbones import attention_tap
from methods.backbones.base import Compression, Stage
from methods.backbones.causal_lm import CausalLMBackbone, with_defaults
from methods.backbones.reading import LanguageBackbone, unheard
from methods.backbones.visual_compressor import VisualCompressor
from methods.backbones.visual_rehearsal import VisualRehearsal
from methods.backbones.visual_sequence import RotaryPositions, VisualSequence, VisualTokens
from methods.base import Method, TokenMethod
from methods.contexts import VisualLayout
from methods.places import Place


class ImageReader(Protocol):
    """The way from pixels to the visual tokens that reach the language model."""

    def check(self, pixels_BICHW: Tensor, layout: VisualLayout) -> None:
        """Raise ValueError where the images are not what the layout says."""

    def read(
        self, pixels_BICHW: Tensor, sequence: VisualSequence, reader: TokenMethod[Any] | None
    ) -> VisualTokens:
        """Run tower and projector; note what the tower saw of what ``reader`` reads."""


class VisionLanguageBackbone(LanguageBackbone):
    """A vision tower, a projector and a decoder of a family that CausalLMBackbone opens."""

    recorded: ClassVar[tuple[Place, ...]] = ("vlm", "kv")
    depth_in: ClassVar[str | None] = "text_config"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._visual: VisualCompressor | None = None
        self._rehearsal: VisualRehearsal | None = None
        self._rotary: RotaryPositions | None = None

    @property
    @abstractmethod
    def _reader(self) -> ImageReader:
        """What reads images."""

    @abstractmethod
    def _rotary_positions(self, sequence: VisualSequence) -> RotaryPositions:
        """What the decoder's rotary embedding turns tokens by."""

    @classmethod
    def why_not(cls, config: dict[str, Any], method: Method) -> str | None:
        """What the language model cannot do."""
        return CausalLMBackbone.why_not(with_defaults(config).text_config.to_dict(), method)

    @classmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of language layers; a cut may come before each of them."""
        return int(with_defaults(config).text_config.num_hidden_layers)

    @classmethod
    def kv_bytes_per_token(cls, config: dict[str, Any], dtype: str) -> int:
        """Bytes of keys and values that one token takes in all language layers together."""
        text_config = with_defaults(config).text_config.to_dict()
        return CausalLMBackbone.kv_bytes_per_token(text_config, dtype)

    @property
    def _decoder_layers(self) -> list[Any]:
        return list(self.model.model.language_model.layers)

    @torch.inference_mode()
    def answer(
        self,
        pixels_BICHW: Tensor,
        layout: VisualLayout,
        prompt_BT: Tensor,
        follow_ups_BQ: list[Tensor],
        num_new: int,
    ) -> Tensor:
        """Greedy answers to the prompt and to each follow-up, long [B, 1 + follow-ups, num_new].

        ``prompt_BT`` holds ``config.image_token_id`` where visual tokens stand and ends with
        text. A follow-up is fed behind the answer before it. Raises ValueError where pixels, layout
        and prompt do not fit each other, FloatingPointError if a logit is not finite.
        """
        if num_new < 1:
            raise ValueError(f"an answer has at least one token, not {num_new}")
        prompt_BT = prompt_BT.to(self.device)
        follow_ups_BQ = [follow_up_BQ.to(self.device) for follow_up_BQ in follow_ups_BQ]
        if self._drafter is None:
            return self._dialogue(pixels_BICHW, layout, prompt_BT, follow_ups_BQ, num_new)
        single = [slice(index, index + 1) for index in range(len(prompt_BT))]
        return torch.cat(
            [
                self._dialogue(
                    pixels_BICHW[one],
                    layout,
                    prompt_BT[one],
                    [follow_up_BQ[one] for follow_up_BQ in follow_ups_BQ],
                    num_new,
                )
                for one in single
            ]
        )

    def _dialogue(
        self,
        pixels_BICHW: Tensor,
        layout: VisualLayout,
        prompt_BT: Tensor,
        follow_ups_BQ: list[Tensor],
        num_new: int,
    ) -> Tensor:
        def answer() -> Tensor:
            said_BT, feed_BQ = prompt_BT[:, :-1], prompt_BT[:, -1:]
            with self._prompt_read(pixels_BICHW, layout, prompt_BT, said_BT.shape[1]) as cache:
                turns = [self._next_tokens(cache, feed_BQ, said_BT, num_new)]
                for follow_up_BQ in follow_ups_BQ:
                    said_BT = torch.cat([said_BT, feed_BQ, turns[-1][:, :-1]], dim=1)
                    feed_BQ = torch.cat([turns[-1][:, -1:], follow_up_BQ], dim=1)
                    turns.append(self._next_tokens(cache, feed_BQ, said_BT, num_new))
            return torch.stack(turns, dim=1)

        return self._foreseen(answer)

    def _next_tokens(self, cache: Any, feed_BQ: Tensor, said_BT: Tensor, num_new: int) -> Tensor:
        if self._drafter is None:
            return self._greedy(cache, feed_BQ, num_new)
        words_T = said_BT[said_BT != self.model.config.image_token_id]
        return self._drafted(cache, feed_BQ, words_T, num_new)

    @torch.inference_mode()
    def continuation_logits(
        self,
        pixels_BICHW: Tensor,
        layout: VisualLayout,
        prompt_BT: Tensor,
        continuation_BQ: Tensor,
    ) -> Tensor:
        """Logits after each continuation token, float [B, Q, V], or after the prompt, [B, 1, V]."""
        prompt_BT, feed_BQ = prompt_BT.to(self.device), continuation_BQ.to(self.device)
        num_cached = prompt_BT.shape[1]
        if not feed_BQ.shape[1]:
            num_cached, feed_BQ = num_cached - 1, prompt_BT[:, -1:]

        def answer() -> Tensor:
            with self._prompt_read(pixels_BICHW, layout, prompt_BT, num_cached) as cache:
                return self._next_logits(cache, feed_BQ)

        return self._foreseen(answer)

    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """Cut visual tokens or what any decoder has.

        See :meth:`methods.backbones.base.Backbone.attach`.
        """
        if stage.place == "vlm":
            return self._attach_visual(stage, seed, compression)
        return super().attach(stage, seed, compression)

    @contextmanager
    def _attach_visual(self, stage: Stage, seed: int, compression: Compression) -> Iterator[None]:
        compressor = VisualCompressor(stage, seed, self._decoder_layers, compression)
        if min(compressor.held) == 1:
            yield
            return
        with compressor.attached(), self._attached("_visual", compressor):
            yield

    @contextmanager
    def _prompt_read(
        self, pixels_BICHW: Tensor, layout: VisualLayout, prompt_BT: Tensor, num_cached: int
    ) -> Iterator[Any]:
        sequence = VisualSequence.of(prompt_BT, self.model.config.image_token_id, layout)
        pixels_BICHW = pixels_BICHW.to(self.device, self.model.dtype)
        self._reader.check(pixels_BICHW, layout)
        rotary = self._rotary_positions(sequence)

        def read(cache: Any) -> None:
            reader = None if self._visual is None else self._visual.method
            tokens = self._reader.read(pixels_BICHW, sequence, reader)
            for layer in cache.layers:
                layer.skip(sequence.num_visual - tokens.sequence.num_visual)
            left, embeddings_BSD = self._at_doorstep(cache, prompt_BT, tokens)
            if self._rehearsal is not None:
                self._rehearsal.read(left, embeddings_BSD, num_cached, rotary)
            self.model.model.language_model(
                inputs_embeds=embeddings_BSD,
                position_ids=rotary(left.positions),
                past_key_values=cache,
                use_cache=True,
            )

        with (
            self._attached("_rotary", rotary),
            self._reading(prompt_BT.shape[1], num_cached, read) as cache,
        ):
            yield cache

    @contextmanager
    def _compressing(self, cache: Any, num_dropped: int) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(super()._compressing(cache, num_dropped))
            if (visual := self._visual) is not None:
                is_rehearsal = self._compressor is None
                stack.enter_context(visual.rehearsal() if is_rehearsal else visual.sequence())
            yield

    def _foreseen(self, answer: Callable[[], Tensor]) -> Tensor:
        """``answer()``, rehearsed first for each place whose method must know the future."""
        visual = self._visual
        if visual is not None and visual.must_foresee:
            with visual.compression.timed(self.device):
                visual.future_BN = self._relevance(answer)
            visual.compression.rehearsals += 1
        return super()._foreseen(answer)

    def _relevance(self, answer: Callable[[], Tensor]) -> dict[int, Tensor]:
        """Of the visual tokens, by layer, for what ``answer()`` is where the decoder is whole."""
        rehearsal, layers = VisualRehearsal(), self._decoder_layers
        with ExitStack() as stack:
            stack.enter_context(attention_tap.paused([layer.self_attn for layer in layers]))
            for name in ("_compressor", "_visual", "_drafter"):
                stack.enter_context(self._attached(name, None))
            stack.enter_context(self._attached("_layer", None))
            stack.enter_context(self._attached("_rehearsal", rehearsal))
            stack.enter_context(self.heard(unheard))
            answer()
        return rehearsal.relevance(self.model, layers)

    def _positions(self, cache: Any, feed_BQ: Tensor) -> Tensor:
        assert self._rotary is not None
        first = cache.get_seq_length()
        fed_Q = torch.arange(first, first + feed_BQ.shape[1], device=feed_BQ.device)
        return self._rotary(fed_Q.expand(len(feed_BQ), -1))

    def _next_logits(self, cache: Any, feed_BQ: Tensor) -> Tensor:
        if self._rehearsal is not None:
            self._rehearsal.feed(feed_BQ)
        return super()._next_logits(cache, feed_BQ)

    def _at_doorstep(
        self, cache: Any, prompt_BT: Tensor, tokens: VisualTokens
    ) -> tuple[VisualSequence, Tensor]:
        """What enters the first language layer: the tokens left, and their embeddings."""
        sequence, visual_BND = tokens.sequence, tokens.projected_BND
        text_BQD = self.model.get_input_embeddings()(prompt_BT[:, sequence.text_Q])
        if self._visual is not None:
            assert tokens.tower is not None
            sequence, visual_BND = self._visual.doorstep(
                cache, sequence, tokens.tower, visual_BND, text_BQD
            )
        return sequence, sequence.join(visual_BND, text_BQD)
