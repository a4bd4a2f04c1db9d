"""Provenance drawn: over an image the patches that are left and the mixtures they went into, over a
text the positions that are kept.

As in the figures of token merging (arXiv:2210.09461), patches that were merged have one colour,
the mean of their pixels, and an outline around them. What was dropped is hatched and pale.
"""

from __future__ import annotations

import base64
import html as markup
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from dash import html
from numpy.typing import NDArray
from PIL import Image

from dashboards.app.seen import Picture, Pixels, Seen, Step

_SIDE: Final = 264
"""Pixels of a drawn image at least."""
_PALE: Final = 0.72
"""How far towards white what was dropped is drawn."""
_EDGE: Final = np.array([26, 26, 26], dtype=np.uint8)
Groups = NDArray[np.int64]


def image(pixels_HW3: Pixels, words: str, kind: str = "map") -> html.Img:
    """Any picture, enlarged without smoothing."""
    return html.Img(src=_data_uri(_enlarged(pixels_HW3)), alt=words, className=kind)


def picture_map(picture: Picture, groups_N: Sequence[int], words: str) -> html.Img:
    """A picture with what became of its patches."""
    rows, columns = picture.grid
    groups_RC = np.asarray(groups_N, dtype=np.int64).reshape(rows, columns)
    pixels = _enlarged(picture.pixels_HW3, rows, columns).astype(np.float64)
    side = (pixels.shape[0] // rows, pixels.shape[1] // columns)
    large = np.kron(groups_RC, np.ones(side, dtype=np.int64))
    for group in np.unique(groups_RC):
        if group >= 0 and (groups_RC == group).sum() > 1:
            pixels[large == group] = pixels[large == group].mean(axis=0)
    dropped = large < 0
    pixels[dropped] = pixels[dropped] * (1 - _PALE) + 255 * _PALE
    drawn = pixels.astype(np.uint8)
    drawn[dropped & _hatching(large.shape)] = 150
    drawn[_edges(large)] = _EDGE
    return html.Img(src=_data_uri(drawn), alt=words, className="map")


def text_map(words: Sequence[str], shares_N: Sequence[float]) -> html.P:
    """A text whose tokens are the darker the more heads hold them; what is dropped is struck."""
    parts = [_token(word, share) for word, share in zip(words, shares_N, strict=False)]
    parts += [html.Span(word, className="token whole") for word in words[len(shares_N) :]]
    return html.P(parts, className="tokens")


def step_map(seen: Seen, step: Step) -> list[Any]:
    """Everything that can be drawn of one step."""
    if seen.pictures and step.groups_N is not None:
        return _picture_maps(seen.pictures, step)
    if seen.words:
        return [text_map(seen.words, step.shares_N)]
    return [text_map([str(place) for place in range(len(step.shares_N))], step.shares_N)]


def _picture_maps(pictures: Sequence[Picture], step: Step) -> list[Any]:
    assert step.groups_N is not None
    drawn, start = [], 0
    for number, picture in enumerate(pictures, 1):
        stop = start + picture.grid[0] * picture.grid[1]
        own = step.groups_N[start:stop]
        start = stop
        if len(own) == picture.grid[0] * picture.grid[1]:
            left = sum(group >= 0 for group in own)
            words = f"Image {number} after {step.name}: {left} of {len(own)} patches left"
            whole = image(picture.pixels_HW3, f"Image {number}", "map small")
            drawn += [picture_map(picture, own, words), whole]
    return drawn


def _token(word: str, share: float) -> html.Span:
    style = {"backgroundColor": f"rgba(0, 114, 178, {0.05 + 0.5 * share:.2f})"} if share else {}
    held = f"{markup.escape(word)}: held by {100 * share:.0f}% of the heads"
    return html.Span(word, className="token" if share else "token gone", style=style, title=held)


def _enlarged(pixels_HW3: Pixels, rows: int = 1, columns: int = 1) -> Pixels:
    """Whole pixels for every patch, so that edges fall between patches."""
    height, width = pixels_HW3.shape[:2]
    scale = max(1, -(-_SIDE // max(height, width)))
    size = (_multiple(width * scale, columns), _multiple(height * scale, rows))
    return np.asarray(Image.fromarray(pixels_HW3).resize(size, Image.Resampling.NEAREST))


def _multiple(length: int, parts: int) -> int:
    return max(1, round(length / parts)) * parts


def _hatching(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Thin diagonal lines, which show in print and to every eye."""
    rows, columns = np.indices(shape)
    return np.asarray((rows + columns) % 8 == 0)


def _edges(groups: Groups) -> NDArray[np.bool_]:
    """Where one mixture ends and another begins."""
    edges = np.zeros(groups.shape, dtype=bool)
    edges[1:] |= groups[1:] != groups[:-1]
    edges[:, 1:] |= groups[:, 1:] != groups[:, :-1]
    return edges


def _data_uri(pixels_HW3: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
