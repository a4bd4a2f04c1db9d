import numpy as np
import pytest

from sweeps.data import captions, coloured_scenes, scenes
from sweeps.data.captions import NO_COLOUR, NO_DIGIT


def test_captions_of_a_near_gallery_differ_and_each_has_neighbours_one_word_away():
    tokens = coloured_scenes.gallery("test", "near", 64, 0).content.captions()
    distance = (tokens[:, None] != tokens[None]).sum(-1)
    others = distance[~np.eye(64, dtype=bool)].reshape(64, 63)
    assert others.min() == 1
    assert ((others == 1).sum(axis=1) == 6).all()  # two values and two colours of three digits
    assert others.max() == 6


def test_scenes_of_a_far_gallery_are_independent():
    content = coloured_scenes.gallery("test", "far", 32, 0).content
    assert len({tuple(row) for row in content.digits != NO_DIGIT}) > 20
    assert ((content.digits != NO_DIGIT).sum(axis=1) == captions.MAX_OBJECTS).all()


@pytest.mark.parametrize("likeness", ["near", "far"])
def test_galleries_of_a_stream_differ_and_recur(likeness):
    first, again, second = (
        coloured_scenes.gallery("test", likeness, 16, number).pixels for number in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_a_digit_stands_in_its_cell_in_its_colour():
    drawn = coloured_scenes.singles("validation", 128)
    image = drawn.pixels * scenes.PIXEL_STD + scenes.PIXEL_MEAN
    cells = (drawn.content.digits != NO_DIGIT).argmax(axis=1)
    colours = drawn.content.colours[np.arange(128), cells]
    right = 0
    for scene, cell, colour in zip(image, cells, colours, strict=True):
        row, column = scenes.corner_of(np.array([cell]))[0]
        inside = scene[:, row : row + 16, column : column + 16].reshape(3, -1)
        brightest = inside[:, inside.sum(axis=0).argsort()[-20:]].mean(axis=1)
        right += np.square(coloured_scenes.RGB - brightest).sum(axis=1).argmin() == colour
    assert right > 115  # a fragment of another colour may reach into the cell


def test_a_short_stream_of_singles_is_the_front_of_a_long_one():
    short, long = coloured_scenes.singles("test", 10), coloured_scenes.singles("test", 100)
    np.testing.assert_array_equal(short.pixels, long.pixels[:10])
    np.testing.assert_array_equal(short.content.colours, long.content.colours[:10])
    assert ((short.content.colours != NO_COLOUR) == (short.content.digits != NO_DIGIT)).all()
