import subprocess
import sys

import numpy as np
import pytest

from sweeps.data import contexts, scenes

HASHES = """
import hashlib
from sweeps.data import contexts, scenes
for part in (scenes.stream("test", 70).pixels, contexts.stream("test", 70).context):
    print(hashlib.sha256(part.tobytes()).hexdigest())
"""


def test_streams_are_the_same_bits_in_another_process():
    runs = [
        subprocess.run([sys.executable, "-c", HASHES], check=True, capture_output=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != b""


def test_a_short_stream_is_the_front_of_a_long_one():
    np.testing.assert_array_equal(
        scenes.stream("test", 10).pixels, scenes.stream("test", 100).pixels[:10]
    )
    np.testing.assert_array_equal(
        contexts.stream("test", 10).context, contexts.stream("test", 100).context[:10]
    )


def test_no_scan_is_in_two_splits():
    sets = [{scan.tobytes() for scan in scenes.scans(s)[0]} for s in scenes.SPLIT_SIZES]
    assert sum(map(len, sets)) == len(set.union(*sets))


def test_the_labelled_cell_holds_the_most_ink():
    drawn = scenes.stream("validation", 256)
    ink = drawn.pixels.min(axis=1) > 0.0
    per_cell = ink.reshape(-1, 3, 16, 3, 16).sum(axis=(2, 4)).reshape(-1, 9)
    assert (per_cell.argmax(1) == drawn.cells).mean() > 0.85
    assert len(set(drawn.cells.tolist())) == 9
    assert len(set(drawn.labels.tolist())) == 10


def test_distortions_change_the_drawing_but_not_its_place():
    images, _ = scenes.scans("train")
    plain = scenes.draw(np.random.default_rng(0), images[:50])
    warped = scenes.draw(
        np.random.default_rng(0), images[:50], scenes.Warp(0.2, 0.1, 0.15, 0.4, 0.3)
    )
    assert 0 <= warped.min() <= warped.max() <= 1
    assert 0.01 < np.abs(plain - warped).mean() < 0.2


def test_an_answer_stands_behind_its_key_and_nowhere_else():
    drawn = contexts.stream("test", 100, context_length=128, num_pairs=8)
    rows = np.arange(100)
    assert (drawn.context[rows, drawn.start] == drawn.question[:, 1]).all()
    assert ((drawn.context == drawn.question[:, 1:]).sum(axis=1) == 1).all()
    for offset in range(contexts.VALUE_LENGTH):
        assert (drawn.context[rows, drawn.start + 1 + offset] == drawn.answer[:, offset]).all()
    assert (drawn.context[rows, drawn.start + 4] == contexts.DELIMITER).all()


def test_filler_follows_the_chain():
    walk = contexts.filler(np.random.default_rng(0), 64, 400) - contexts.FIRST_FILLER
    followers = [set(walk[:, 1:][walk[:, :-1] == token].tolist()) for token in range(64)]
    numbers = [len(follower) for follower in followers]
    assert max(numbers) == contexts.SUCCESSORS
    assert sum(numbers) > 60 * contexts.SUCCESSORS  # a token that nothing leads to is hardly seen


@pytest.mark.parametrize(("length", "pairs"), [(20, 4), (1000, 65)])
def test_pairs_that_do_not_fit_are_refused(length, pairs):
    with pytest.raises(ValueError, match=f"{pairs} pairs do not fit"):
        contexts.compose(np.random.default_rng(0), 2, length, pairs)
