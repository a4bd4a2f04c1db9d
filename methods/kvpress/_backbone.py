"""A decoder whose cache a press of kvpress cuts, in the environment that has kvpress.

It answers like :class:`~methods.backbones.causal_lm.CausalLMBackbone` and shares no code with it,
because that one is written for a newer transformers. Its uncompressed model takes the same path as
the pressed one.

Where they differ, apart from the press:

- Without a continuation, the prompt's last token is read after the press was at work, not before it
  as well: a press judges by the queries of all tokens but that one.
- Sequences are read one at a time, and what follows a prompt is fed token by token, as kvpress's
  own pipeline reads and generates; layers of different lengths then need no masks.

Shapes: B sequences, T prompt tokens, Q tokens of a continuation, V words.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import metadata
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache

from methods.backbones.base import Backbone, Compression, Stage, VacuousCompressionError
from methods.base import InfeasibleError, Method
from methods.edit._base import Edit
from methods.infeasible import MissingHereError
from methods.kvpress._press import Press, table
from methods.places import Place


class PressedBackbone(Backbone):
    """A Hugging Face decoder that kvpress supports."""

    places: ClassVar[tuple[Place, ...]] = ("kv",)
    recorded: ClassVar[tuple[Place, ...]] = ("kv",)
    architectures: ClassVar[tuple[str, ...]] = (
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
    )
    environment: ClassVar[str | None] = Press.environment

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._press: Any = None
        self._without_effect = 0
        self._hides = False

    @classmethod
    def load(cls, path: str, revision: str | None, dtype: torch.dtype) -> PressedBackbone:
        """Open a model directory or hub id. Raises MissingHereError for another kvpress."""
        installed, listed = metadata.version("kvpress"), table()["kvpress"]
        if installed != listed:
            raise MissingHereError(
                f"kvpress {installed} is installed, presses of {listed} are known"
            )
        importlib.import_module("kvpress")  # it patches attention, for the baseline as well
        model = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision or "main",
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
        )
        return cls(model)

    @classmethod
    def why_not(cls, config: dict[str, Any], method: Method) -> str | None:  # noqa: ARG003
        """Planning asks the adapter of its own environment."""
        return None

    @classmethod
    def layers_in(cls, config: dict[str, Any]) -> int:
        """Number of decoder layers."""
        return int(config["num_hidden_layers"])

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.model.model.layers)

    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """Put a press to work, or nothing for the baseline.

        See :meth:`methods.backbones.base.Backbone.attach`.
        """
        if not isinstance(stage.method, Press):
            return nullcontext()
        return self._attach_press(stage.method, stage.keep_ratio, seed, compression)

    @contextmanager
    def _attach_press(
        self, method: Press, keep_ratio: float, seed: int, compression: Compression
    ) -> Iterator[None]:
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation(method.attention)
        self._press, self._without_effect = self._timed(method.build(keep_ratio), compression), 0
        self._hides = False
        try:
            with torch.random.fork_rng():  # presses draw from the global generator
                torch.manual_seed(seed)
                yield
        except AssertionError as error:  # how presses refuse prompts and parameters
            raise InfeasibleError(f"{method.id()}: {error}") from error
        finally:
            self._press = None
            self._unmask()
            self.model.set_attn_implementation(before)
        if self._hides and not method.simulated:
            raise InfeasibleError(
                f"{method.id()} masks with these parameters: its savings are not real"
            )
        if self._without_effect or not compression.reads:
            whole, cut = self._without_effect, compression.reads
            raise VacuousCompressionError(f"{method.id()} left {whole} caches whole, cut {cut}")

    def _timed(self, press: Any, compression: Compression) -> Any:
        """The press, its work after each layer timed; passes that some make besides are not."""
        work = press.forward_hook

        def hook(*args: Any) -> Any:
            with compression.timed(self.device):
                return work(*args)

        press.forward_hook = hook
        return press

    @torch.no_grad()
    def generate(self, prompt_BT: Tensor, continuation_BQ: Tensor, num_new: int) -> Tensor:
        """Greedy answer, long [B, num_new]; ``continuation_BQ`` may be empty (Q = 0)."""
        pairs = zip(torch.split(prompt_BT, 1), torch.split(continuation_BQ, 1), strict=True)
        return torch.cat([self._greedy(*pair, num_new) for pair in pairs])

    @torch.no_grad()
    def continuation_logits(self, prompt_BT: Tensor, continuation_BQ: Tensor) -> Tensor:
        """Logits after each continuation token, float [B, Q, V], or after the prompt, [B, 1, V]."""
        pairs = zip(torch.split(prompt_BT, 1), torch.split(continuation_BQ, 1), strict=True)
        return torch.cat([self._fed(*self._read(*pair)) for pair in pairs])

    def edited_generate(
        self, before_BT: Tensor, edit: Edit, continuation_BQ: Tensor, num_new: int
    ) -> Tensor:
        """Greedy answer to the edited prompt, read whole: presses edit no cache. As generate."""
        return self.generate(edit.applied(before_BT), continuation_BQ, num_new)

    def remembering(self, before_BT: Tensor) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing: no press uses the cache from before an edit."""
        return nullcontext()

    def _greedy(self, prompt_1T: Tensor, continuation_1Q: Tensor, num_new: int) -> Tensor:
        cache, feed_1Q, position = self._read(prompt_1T, continuation_1Q)
        new = [feed_1Q[:, :0]]
        for _ in range(num_new):
            logits_1QV = self._fed(cache, feed_1Q, position)
            position += feed_1Q.shape[1]
            feed_1Q = logits_1QV[:, -1:].argmax(-1)
            new.append(feed_1Q)
        if self._record is not None:
            self._record.steps += num_new
            self._record.new_tokens += num_new
        return torch.cat(new, dim=1)

    def _read(self, prompt_1T: Tensor, continuation_1Q: Tensor) -> tuple[Any, Tensor, int]:
        """The cache once the prompt was read and pressed, what to feed next, and its position."""
        prompt_1T, feed_1Q = prompt_1T.to(self.device), continuation_1Q.to(self.device)
        if not feed_1Q.shape[1]:
            prompt_1T, feed_1Q = prompt_1T[:, :-1], prompt_1T[:, -1:]
        if not prompt_1T.shape[1]:
            raise InfeasibleError("a prompt of 1 token leaves nothing to cache")
        cache = DynamicCache()
        self._unmask()
        with nullcontext() if self._press is None else self._press(self.model):
            self.model.model(input_ids=prompt_1T, past_key_values=cache)
        if self._record is not None:
            self._note(self._record, cache, prompt_1T.shape[1])
        return cache, feed_1Q, self._next_position(cache, prompt_1T.shape[1])

    def _fed(self, cache: Any, feed_1Q: Tensor, position: int) -> Tensor:
        """Logits after each token fed, float [1, Q, V]. Raises FloatingPointError."""
        logits = []
        for offset, token_11 in enumerate(torch.split(feed_1Q, 1, dim=1)):
            at_11 = torch.full_like(token_11, position + offset)
            read = self.model(input_ids=token_11, past_key_values=cache, position_ids=at_11)
            logits.append(read.logits.float())
        found_1QV = torch.cat(logits, dim=1)
        if not found_1QV.isfinite().all():
            raise FloatingPointError("the model's logits are not finite")
        return found_1QV

    def _next_position(self, cache: Any, num_read: int) -> int:
        """Presses that rotate keys anew number the entries that are left."""
        kvpress: Any = importlib.import_module("kvpress")
        rotated = isinstance(self._press, kvpress.KeyRerotationPress)
        return int(cache.get_seq_length()) if rotated else num_read

    def _note(self, record: Compression, cache: Any, num_read: int) -> None:
        """What the cache holds; entries that are only masked count as bytes and not as tokens."""
        layers, attentions = cache.layers, [layer.self_attn for layer in self.model.model.layers]
        hidden = [_num_masked(attention) for attention in attentions]
        record.kv_bytes = sum(_storage_bytes(layer.keys, layer.values) for layer in layers)
        record.tokens_per_layer = [
            round(layer.keys.shape[2] - count / layer.keys.shape[1])
            for layer, count in zip(layers, hidden, strict=True)
        ]
        if self._press is not None:
            self._hides |= any(hidden)
            is_cut = min(record.tokens_per_layer) < num_read
            record.reads += is_cut
            self._without_effect += not is_cut

    def _unmask(self) -> None:
        for layer in self.model.model.layers:
            layer.self_attn.masked_key_indices = None


def _num_masked(attention: Any) -> int:
    """Entries that no query reads, in all heads together."""
    masked = getattr(attention, "masked_key_indices", None)
    return 0 if masked is None else len(masked[0])


def _storage_bytes(*tensors: Tensor) -> int:
    return int(sum(t.untyped_storage().nbytes() for t in tensors))
