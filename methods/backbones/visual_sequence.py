"""Visual tokens and text on their way through a decoder, while visual tokens become fewer.

Shapes: B sequences, N visual tokens still there, Q text tokens, S = N + Q tokens of the sequence,
K visual tokens after a cut, P tokens of one image, T tokens of the prompt, D channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from methods.contexts import TowerView, VisualLayout
from methods.transform import rows_of

RotaryPositions = Callable[[Tensor], Tensor]
"""From tokens' positions in the prompt or behind it, long [B, S], to what a decoder takes as
``position_ids``."""


@dataclass(frozen=True)
class VisualSequence:
    """Which visual tokens are left in a batch of prompts, and where they stand between the texts.

    A token keeps the position that it has in the prompt; a merged one takes the position of its
    heaviest part. ``visual_I`` and ``text_Q`` are the prompt's positions (long) of all original
    visual tokens and of the text; ``origin_BN`` and ``sizes_BN`` as in
    :class:`~methods.contexts.VisualContext`.
    """

    layout: VisualLayout
    visual_I: Tensor
    text_Q: Tensor
    origin_BN: Tensor
    sizes_BN: Tensor

    @classmethod
    def of(cls, prompt_BT: Tensor, placeholder: int, layout: VisualLayout) -> VisualSequence:
        """All visual tokens of ``prompt_BT``, which stand where its ``placeholder`` does.

        Raises ValueError if there are not as many as the layout says, if they stand at different
        positions in different prompts, or if the last token is one of them.
        """
        is_visual_BT = prompt_BT == placeholder
        _check(is_visual_BT, layout)
        visual_I, text_Q = is_visual_BT[0].nonzero()[:, 0], (~is_visual_BT[0]).nonzero()[:, 0]
        origin_I = torch.arange(layout.num_tokens, device=prompt_BT.device)
        origin_BI = origin_I.expand(prompt_BT.shape[0], -1)
        return cls(layout, visual_I, text_Q, origin_BI, torch.ones_like(origin_BI).float())

    @property
    def num_visual(self) -> int:
        """Visual tokens N that are left."""
        return self.origin_BN.shape[1]

    @property
    def question(self) -> Tensor:
        """Which text tokens stand behind the last image, bool [Q]."""
        return self.text_Q > self.visual_I[-1]

    @property
    def images_before(self) -> Tensor:
        """How many images stand before each text token, long [Q]."""
        starts = self.visual_I[:: self.layout.per_image]
        return (self.text_Q[:, None] > starts).sum(1)

    @property
    def positions(self) -> Tensor:
        """The tokens' positions in the prompt, long [B, S], never decreasing."""
        return self._unsorted.gather(1, self._order)

    def join(self, visual_BND: Tensor, text_BQD: Tensor) -> Tensor:
        """Visual tokens and text in the order of their positions, [B, S, D]."""
        return rows_of(torch.cat([visual_BND, text_BQD], dim=1), self._order)

    def split(self, joined_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Visual tokens [B, N, D] and text [B, Q, D] of what :meth:`join` gave."""
        separate_BSD = rows_of(joined_BSD, self.separating)
        return separate_BSD[:, : self.num_visual], separate_BSD[:, self.num_visual :]

    @cached_property
    def separating(self) -> Tensor:
        """Indices into the sequence, [B, S]: its N visual tokens, then its text, each in order."""
        return self._order.argsort(1)

    def reduced(self, dense_BKN: Tensor) -> tuple[VisualSequence, Tensor]:
        """What is left after a W, and the order [B, K] in which its rows then follow each other."""
        taken_BN = dense_BKN.sum(1).clamp_min(torch.finfo(dense_BKN.dtype).tiny)
        sizes_BK = (dense_BKN @ (self.sizes_BN / taken_BN)[..., None])[..., 0]
        return self._left(dense_BKN.argmax(2), sizes_BK)

    def pruned(self, kept_BK: Tensor) -> tuple[VisualSequence, Tensor]:
        """As :meth:`reduced`, for a W whose row k is the visual token ``kept_BK[k]``."""
        return self._left(kept_BK, self.sizes_BN.gather(1, kept_BK))

    def _left(self, heaviest_BK: Tensor, sizes_BK: Tensor) -> tuple[VisualSequence, Tensor]:
        origin_BK, order_BK = self.origin_BN.gather(1, heaviest_BK).sort(dim=1, stable=True)
        return replace(self, origin_BN=origin_BK, sizes_BN=sizes_BK.gather(1, order_BK)), order_BK

    @cached_property
    def _unsorted(self) -> Tensor:
        text_BQ = self.text_Q.expand(self.origin_BN.shape[0], -1)
        return torch.cat([self.visual_I[self.origin_BN], text_BQ], dim=1)

    @cached_property
    def _order(self) -> Tensor:
        return self._unsorted.argsort(dim=1, stable=True)


@dataclass(frozen=True)
class VisualTokens:
    """Visual tokens in the order of their positions, [B, N, D], and what the tower saw."""

    sequence: VisualSequence
    projected_BND: Tensor
    tower: TowerView | None


def rows_for_all(x_BSD: Tensor, indices_BK: Tensor) -> Tensor:
    """Rows by index, [B, K, D]; what has one row for all sequences (B = 1) is repeated."""
    return rows_of(x_BSD.expand(indices_BK.shape[0], -1, -1), indices_BK)


def _check(is_visual_BT: Tensor, layout: VisualLayout) -> None:
    counts = sorted(set(is_visual_BT.sum(1).tolist()))
    if counts != [layout.num_tokens]:
        rows, columns = layout.grid
        rows, columns = layout.grid
        raise ValueError(
            f"the prompts hold {' and '.join(map(str, counts))} placeholders, but the layout's "
            f"{layout.num_images} images of {rows} x {columns} tokens need {layout.num_tokens}"
        )
    if not (is_visual_BT == is_visual_BT[0]).all():
        raise ValueError("the prompts of one batch hold their images at different positions")
    if is_visual_BT[0, -1]:
        raise ValueError("a prompt ends with text: its last token decides the first answer token")
