"""Decoders whose prompts are edited after they were read, and what they remember of them.

The cost of editing is what comes after the edit: the cache of the prompt before has been read at
some earlier time. :meth:`EditablePrompts.remembering` is that time; who measures, measures inside.

Shapes: B sequences, T tokens before an edit, Q tokens of a continuation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from methods.backbones.base import Compression, Stage
from methods.backbones.cache_editor import (
    CacheEditor,
    KnownCache,
    known_cache,
    why_keys_cannot_turn,
)
from methods.backbones.reading import LanguageBackbone
from methods.base import InfeasibleError, Method
from methods.controls.identity import Identity
from methods.edit._base import CacheEdit, Edit
from methods.places import Place
from methods.schedule import Schedule

NOT_BESIDE_EDITS: Final[tuple[Place, ...]] = ("prompt", "kv", "attention", "decoding")
"""Where methods need a prompt that is read whole: entries that an edit reuses have no queries."""


class EditablePrompts(LanguageBackbone):
    """A decoder that can answer an edited prompt from the cache of the prompt before."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._editor: CacheEditor | None = None
        self._known: KnownCache | None = None

    @abstractmethod
    def generate(self, prompt_BT: Tensor, continuation_BQ: Tensor, num_new: int) -> Tensor:
        """Greedy answer to a prompt read whole, long [B, num_new]."""

    @classmethod
    def stages(cls, method: Method, schedule: Schedule, keep_ratio: float) -> list[Stage]:
        """As any backbone's; an edit has only weights and storage beside it."""
        found = super().stages(method, schedule, keep_ratio)
        if any(stage.place == "edit" for stage in found):
            for stage in found:
                _require_beside_edit(stage)
        return found

    @torch.inference_mode()
    def edited_generate(
        self, before_BT: Tensor, edit: Edit, continuation_BQ: Tensor, num_new: int
    ) -> Tensor:
        """Greedy answer to ``before_BT`` once it is edited, long [B, num_new].

        Where a method edits caches, that of ``before_BT`` is used: the remembered one
        (:meth:`remembering`), or one read on the spot. Elsewhere the edited prompt is read whole.
        Raises as :meth:`generate`, and ValueError if the edit does not fit.
        """
        if self._editor is None:
            return self.generate(edit.applied(before_BT), continuation_BQ, num_new)
        with self._edited_read(before_BT, edit, continuation_BQ) as (cache, feed_BQ):
            return self._greedy(cache, feed_BQ, num_new)

    @contextmanager
    def remembering(self, before_BT: Tensor) -> Iterator[None]:
        """Inside, the uncompressed cache of ``before_BT`` is there already, for edits to use.

        Nothing is read inside a ``compressed`` block that edits no caches.
        """
        if self._record is not None and self._editor is None:
            yield
            return
        with self._attached("_known", self._read_before(before_BT.to(self.device))):
            yield

    def attach(
        self, stage: Stage, seed: int, compression: Compression
    ) -> AbstractContextManager[None]:
        """Edit caches, or whatever attaches to a decoder.

        See :meth:`methods.backbones.base.Backbone.attach`.
        """
        if stage.place == "edit":
            return self._attach_editor(stage.method, compression)
        return super().attach(stage, seed, compression)

    @contextmanager
    def _attach_editor(self, method: CacheEdit, compression: Compression) -> Iterator[None]:
        """Build the caches of edited prompts from those before."""
        reason = why_keys_cannot_turn(self.model.config)
        if reason is not None:
            raise InfeasibleError(f"{method.id()} cannot edit this model's caches: {reason}")
        editor = CacheEditor(method, self.model, compression)
        with self._attached("_editor", editor):
            yield
        editor.require_effect()

    def _edited_read(
        self, before_BT: Tensor, edit: Edit, continuation_BQ: Tensor
    ) -> AbstractContextManager[tuple[Any, Tensor]]:
        """The cache after the edit, and the tokens to feed next."""
        editor, known = self._editor, self._known
        assert editor is not None
        edited_BT = edit.applied(before_BT).to(self.device)
        before_BT = before_BT.to(self.device)
        if known is None or not torch.equal(known.tokens_BT, before_BT):
            known = self._read_before(before_BT)

        def fill(cache: Any) -> None:
            editor.fill(cache, known, edit)

        return self._fed(edited_BT, continuation_BQ.to(self.device), fill)

    @contextmanager
    def _fed(
        self, prompt_BT: Tensor, continuation_BQ: Tensor, read: Callable[[Any], object]
    ) -> Iterator[tuple[Any, Tensor]]:
        """The cache that ``read`` filled with the prompt, cut, and the tokens to feed next."""
        num_prompt, num_more = prompt_BT.shape[1], continuation_BQ.shape[1]
        num_cached = num_prompt if num_more else num_prompt - 1
        with self._reading(num_prompt, num_cached, read) as cache:
            yield cache, continuation_BQ if num_more else prompt_BT[:, -1:]

    @torch.inference_mode()
    def _read_before(self, before_BT: Tensor) -> KnownCache:
        with self._unseen():
            return known_cache(before_BT, self._empty_cache(), self._read)

    def _read(self, prompt_BT: Tensor, cache: Any) -> None:
        self.model.base_model(prompt_BT, past_key_values=cache, use_cache=True)

    def _unseen(self) -> AbstractContextManager[None]:
        """Forward passes that read no prompt into a cache to be compressed."""
        return nullcontext() if self._compressor is None else self._compressor.looking_away()


def _require_beside_edit(stage: Stage) -> None:
    if stage.place in NOT_BESIDE_EDITS and not isinstance(stage.method, Identity):
        raise InfeasibleError(
            f"{stage.method.id()} at {stage.place} needs prompts that are read whole; an edit "
            "reads only a part of them"
        )
