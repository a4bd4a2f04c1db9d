import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from sweeps.data import dialogues, mosaics, videos, wording
from sweeps.data.captions import NO_COLOUR, NO_DIGIT
from sweeps.data.wording import FIRST_COLOUR, FIRST_DIGIT, WORDS

HASHES = """
import hashlib
from sweeps.data import dialogues, videos
for part in (dialogues.stream("test", "anyres", 8), videos.stream("test", "order", 8)):
    for array in (part.pixels, part.questions, part.answers):
        print(hashlib.sha256(array.tobytes()).hexdigest())
"""


def test_streams_are_the_same_bits_in_another_process():
    runs = [
        subprocess.run([sys.executable, "-c", HASHES], check=True, capture_output=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != b""


@pytest.mark.parametrize("kind", dialogues.KINDS)
def test_a_short_stream_is_the_front_of_a_long_one(kind):
    short, long = (dialogues.stream("test", kind, count) for count in (10, 100))
    np.testing.assert_array_equal(short.pixels, long.pixels[:10])
    np.testing.assert_array_equal(short.questions, long.questions[:10])
    np.testing.assert_array_equal(short.answers, long.answers[:10])


@pytest.mark.parametrize(
    ("kind", "images", "turns"),
    [("single", 1, 1), ("detail", 1, 1), ("two-turn", 1, 2), ("several", 4, 1), ("anyres", 5, 1)],
)
def test_every_kind_shows_and_asks_what_its_card_says(kind, images, turns):
    drawn = dialogues.stream("validation", kind, 64)
    assert drawn.pixels.shape == (64, images, 3, 32, 32)
    assert drawn.questions.shape == (64, turns, 3)
    assert len(drawn.names) == images
    assert (drawn.questions[:, 0] != drawn.questions[:, -1]).any(axis=-1).all() == (turns > 1)


def answer_by_looking(question, images):
    """The answer that a reader of the scenes' contents gives, found without the generator."""
    asked, _, named = (WORDS[index] for index in question)
    everything = [
        (WORDS[FIRST_DIGIT + d], WORDS[FIRST_COLOUR + c], cell, at)
        for at, seen in enumerate(images)
        for d, c, cell in seen
    ]
    if asked == "count":
        return WORDS[FIRST_DIGIT + len(everything)]
    if asked == "at":
        row, column = int(named[4]) - 1, int(named[-1]) - 1
        return next((d for d, _, cell, _ in everything if cell == 4 * row + column), "nothing")
    matching = [thing for thing in everything if named in thing[:2]]
    if asked == "any":
        return "yes" if matching else "no"
    if asked == "which" and len(images) > 1:
        [place] = {at for *_, at in matching}
        return "ABCD"[place]
    [(digit, colour, cell, _)] = matching
    crop = ("bottom-" if cell // 8 > 3 else "top-") + ("right" if cell % 8 > 3 else "left")
    return {"digit": digit, "colour": colour, "which": crop}[asked]


@pytest.mark.parametrize("kind", dialogues.KINDS)
def test_answers_agree_with_what_is_in_the_pictures(kind):
    rng = np.random.default_rng(7)
    _, seen = dialogues.draw(rng, "validation", kind, 40)
    for images in seen:
        for question, answer in dialogues.ask(rng, dialogues.ASKERS[kind], images, 6):
            assert WORDS[answer] == answer_by_looking(question, images)


def test_answers_are_not_lopsided():
    for kind in dialogues.KINDS:
        answers = Counter(dialogues.stream("test", kind, 256).answers[:, -1].tolist())
        assert max(answers.values()) < 0.35 * 256


def test_a_digit_is_drawn_in_its_cell_and_in_its_colour():
    rng = np.random.default_rng(3)
    objects = mosaics.scatter(rng, "train", 4, rng.integers(1, 7, 200))
    bare = np.zeros((200, 96, 96, 3), np.float32)
    mosaics.paint(bare, objects, objects.cells)
    cells = bare[:, 16:-16, 16:-16].reshape(200, 4, 16, 4, 16, 3).sum(axis=(2, 4))
    digits, colours = mosaics.labels_of(objects, 4)
    inked = cells.reshape(200, 16, 3)
    np.testing.assert_array_equal(inked.sum(-1) > 0, digits != NO_DIGIT)
    reds, blues = inked[colours == 0], inked[colours == 2]
    assert (reds.argmax(-1) == 0).all()
    assert (blues.argmax(-1) == 2).all()
    for row in colours:
        used = row[row != NO_COLOUR]
        assert len(set(used)) == len(used)


def test_crops_and_thumbnail_show_the_picture():
    picture = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    tiles = mosaics.tiles(picture)
    np.testing.assert_array_equal(tiles[:, 2], picture[:, :, :32, 32:])
    np.testing.assert_array_equal(tiles[:, 3], picture[:, :, 32:, :32])
    np.testing.assert_allclose(tiles[:, 0, :, 5, 7], picture[:, :, 10:12, 14:16].mean((2, 3)), 1e-5)


def test_a_video_shows_its_story():
    rng = np.random.default_rng(5)
    frames, stories = videos.draw(rng, "train", 64)
    changed = np.abs(np.diff(frames, axis=1)).reshape(64, 5, 3, 4, 8, 4, 8).mean(axis=(2, 4, 6))
    moved = changed.reshape(64, 5, 16) > 0.1  # a frame's noise makes about 0.06
    for story, row in zip(stories, moved, strict=True):
        events = {(story.moves_at, story.things[0][2]), (story.moves_at, story.target)}
        for (_, _, cell), arrival in zip(story.things[1:3], story.arrivals, strict=True):
            events |= {(arrival, cell), (arrival + videos.STAY, cell)}
        seen = {(frame + 1, cell) for frame, cell in np.argwhere(row).tolist()}
        assert seen == {event for event in events if 0 < event[0] < 6}


def test_answers_agree_with_the_story():
    story = videos.Story([(7, 0, 5), (1, 3, 8), (4, 5, 2)], 6, 3, arrivals=(4, 1))
    rng = np.random.default_rng(0)
    words = {
        (wording.words(question), WORDS[answer]) for question, answer in videos.ask(rng, story, 200)
    }
    assert words == {
        *(("digit of red", "seven"), ("digit of yellow", "one"), ("digit of cyan", "four")),
        *(("when of yellow", "late"), ("when of cyan", "early")),
        *(("first yellow cyan", "cyan"), ("first cyan yellow", "cyan")),
        ("towards of red", "right"),
    }


def test_a_prompt_names_images_where_there_are_several():
    assert wording.words(wording.prompt(("picture",), 2)) == "<start> <image> <image>"
    assert wording.words(wording.prompt(("A", "B"), 1)) == "<start> A <image> B <image>"
    assert len(set(WORDS)) == len(WORDS)
    with pytest.raises(ValueError, match="unknown word 'purple'"):
        wording.token("purple")
