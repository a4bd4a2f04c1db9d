"""What is shown of an example is what the trial did, and it is drawn where it was."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dashboards.app.maps import picture_map, text_map
from dashboards.app.seen import Picture, Seen
from orchestrator.measurement import seen
from store.records import Point
from store.repository import Store

EXAMPLES = (0, 7, 15)


def point(store: Store, workload: str, method: str, keep: float) -> Point:
    found = (p for p in store.points("small", workload) if p.method == method)
    return next(p for p in found if p.keep_ratio == pytest.approx(keep, abs=0.02))


def look(store: Store, chosen: Point, example: int) -> Seen:
    return seen.look(store.url, chosen.trial, example)


@pytest.mark.parametrize("method", ["identity", "attention-topk", "tome", "dpc-knn"])
def test_an_example_gives_the_outcome_that_the_sweep_measured(measured: Store, method: str) -> None:
    chosen = point(measured, "digits", method, 1.0 if method == "identity" else 0.25)
    outcomes = measured.outcomes(chosen.trial)["outcome"]
    assert [look(measured, chosen, e).outcome for e in EXAMPLES] == [outcomes[e] for e in EXAMPLES]


def test_pruned_patches_are_gone_and_merged_ones_are_held(measured: Store) -> None:
    pruned = look(measured, point(measured, "digits", "attention-topk", 0.25), 0).steps[-1]
    merged = look(measured, point(measured, "digits", "tome", 0.25), 0).steps[-1]
    assert pruned.num_out == merged.num_out == 36
    assert (sum(pruned.shares_N), sum(merged.shares_N)) == (36, 144)
    assert len(pruned.shares_N) == len(merged.shares_N) == 144
    assert merged.groups_N is not None
    assert -1 not in merged.groups_N


def test_streaming_llm_holds_the_first_words_and_the_last(measured: Store) -> None:
    found = look(measured, point(measured, "recall", "streaming-llm", 0.25), 3)
    shares = found.steps[-1].shares_N
    assert len(found.words) == len(shares) + 1  # the last token of the question is read afterwards
    assert found.words[0] == "⊢"
    assert found.words[-2] == "?"
    kept = [place for place, share in enumerate(shares) if share == 1]
    assert kept == [*range(4), *range(len(shares) - len(kept) + 4, len(shares))]
    assert found.steps[-1].kept == pytest.approx(0.25, abs=0.01)


def test_what_is_not_there_is_refused_in_words(measured: Store) -> None:
    chosen = point(measured, "digits", "tome", 0.25)
    with pytest.raises(ValueError, match="example must be an integer from 0 to 23"):
        look(measured, chosen, 24)
    with pytest.raises(ValueError, match="no sweep has planned trial 'nothing'"):
        seen.look(measured.url, "nothing", 0)


def test_a_map_shows_kept_patches_as_they_are_and_mixtures_in_one_colour() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2, :2], pixels[:2, 2:], pixels[2:, :2] = 200, 100, 50
    drawn = decoded(picture_map(Picture(pixels, (2, 2)), [0, 1, 1, -1], "").src)
    quarter = drawn.shape[0] // 4
    kept, left, right, dropped = (
        drawn[y * quarter, x * quarter] for y, x in [(1, 1), (1, 3), (3, 1), (3, 3)]
    )
    assert kept.tolist() == [200] * 3
    assert left.tolist() == right.tolist() == [75] * 3
    assert dropped.min() > 140  # pale or hatched, and black in the picture


def test_a_text_strikes_what_no_head_holds() -> None:
    parts = text_map(["a", "b", "c"], [1.0, 0.0]).children
    assert ["gone" in part.className for part in parts] == [False, True, False]
    assert parts[0].title == "a: held by 100% of the heads"


def decoded(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    (content,) = re.findall("base64,(.*)", uri)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
