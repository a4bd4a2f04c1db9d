"""What a vision tower saw, for methods that reduce its tokens in the language model.

Attention is recomputed from queries and keys in the layers that a method reads: one query row for
the class token, P x P only for attention received. Where the tower itself reduces tokens, each
patch is shown what its token saw, and a pruned one zeros.

Shapes: L layers, B examples of I images, H heads, M = 1 + P tokens with the class token first,
C colour channels, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from methods.backbones import attention_tap
from methods.backbones.attention_tap import AttentionCall
from methods.contexts import TowerView
from methods.deferred import PerLayer
from methods.transform import TokenTransform

Calls = Mapping[int, Sequence[AttentionCall]]
"""Calls of the layers that were listened to, by their index."""


@contextmanager
def listening(attentions: Mapping[int, nn.Module]) -> Iterator[Calls]:
    """A list for each layer's attention module that receives its calls inside the block."""
    layers = {module: layer for layer, module in attentions.items()}
    calls: dict[int, list[AttentionCall]] = {layer: [] for layer in attentions}

    def tap(module: nn.Module, call: AttentionCall) -> AttentionCall:
        calls[layers[module]].append(call)
        return call

    with attention_tap.attach(layers, tap):
        yield calls


def per_layer(
    calls: Calls, num_layers: int, compute: Callable[[int, Sequence[AttentionCall]], Tensor]
) -> PerLayer:
    """``compute`` of every layer and its calls; layers that were not listened to cannot be read."""

    def layer(index: int) -> Tensor:
        assert index in calls, f"tower layer {index} is not among the method's tower_layers"
        return compute(index, calls[index])

    return PerLayer(partial(layer, index) for index in range(num_layers))


class TowerTap:
    """What a tower that was run inside :func:`listening` saw.

    ``scaling`` is the layers' common factor on query-key products, ``selected`` the index of the
    layer whose output is projected.
    """

    def __init__(self, num_layers: int, scaling: float, selected: int) -> None:
        self.num_layers = num_layers
        self.scaling = scaling
        self.selected = selected

    def view(
        self,
        calls: Calls,
        cuts: Mapping[int, TokenTransform],
        hidden_JPD: Tensor,
        pixels_BICHW: Tensor,
    ) -> TowerView:
        """The view of one forward pass over all J = B I images.

        ``cuts`` are the tower's own reductions, by the layer at whose end they are made. Layers are
        computed when they are read.
        """
        images = tuple(pixels_BICHW.shape[:2])

        def by_layer(compute: Callable[[AttentionCall], Tensor], axis: int) -> PerLayer:
            def layer(index: int, own: Sequence[AttentionCall]) -> Tensor:
                before = [cuts[cut] for cut in sorted(cuts) if cut < index]
                (call,) = own
                whole = _spread(compute(call), before, axis)
                return whole.reshape(*images, *whole.shape[1:])

            return per_layer(calls, self.num_layers, layer)

        before = [cuts[cut] for cut in sorted(cuts) if cut <= self.selected]
        hidden_JPD = _spread(hidden_JPD, before, axis=1)
        return TowerView(
            hidden_BIPD=hidden_JPD.reshape(*images, *hidden_JPD.shape[1:]),
            cls_attention_LBIHP=by_layer(self._cls_attention, axis=2),
            received_LBIP=by_layer(self._received, axis=1),
            keys_LBIHPD=by_layer(lambda call: call.key_BKND[:, :, 1:], axis=2),
            pixels_BICHW=pixels_BICHW,
            selected=self.selected,
        )

    def _cls_attention(self, call: AttentionCall) -> Tensor:
        return softmax(call, call.query_BHTD[:, :, :1], self.scaling)[:, :, 0, 1:]

    def _received(self, call: AttentionCall) -> Tensor:
        return softmax(call, call.query_BHTD[:, :, 1:], self.scaling)[..., 1:].sum(2).mean(1)


def softmax(call: AttentionCall, query_JHTD: Tensor, scaling: float) -> Tensor:
    """Attention of some of a call's queries over all its keys, [J, H, T, M].

    ``call.mask`` is None or weighs merged tokens, the same for all queries.
    """
    logits_JHTM = query_JHTD @ call.key_BKND.mT * scaling
    return (logits_JHTM if call.mask is None else logits_JHTM + call.mask).softmax(-1)


def _spread(x: Tensor, cuts: Sequence[TokenTransform], axis: int) -> Tensor:
    """Undo ``cuts`` along one axis; the first axis runs over images."""
    if not cuts:
        return x
    x = x.movedim(axis, 1)
    flat_JKD = x.reshape(*x.shape[:2], -1)
    for cut in reversed(cuts):
        flat_JKD = cut.unmerge(flat_JKD)
    return flat_JKD.view(*flat_JKD.shape[:2], *x.shape[2:]).movedim(1, axis)
