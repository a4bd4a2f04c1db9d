import numpy as np
import pytest

from sweeps.data import ink, scenes


def test_labels_follow_the_ink():
    drawn = ink.stream("validation", 64)
    brightness = drawn.pixels.mean(axis=1)
    background = brightness[drawn.classes == ink.BACKGROUND].mean()
    for label in (ink.FRAGMENT, ink.DIGIT):
        assert brightness[drawn.classes == label].mean() > background + 1


def test_three_digits_in_different_cells_reach_no_further_than_their_cells():
    digit = ink.stream("test", 64).classes == ink.DIGIT
    cells = digit.reshape(-1, 3, 16, 3, 16).any(axis=(2, 4)).reshape(-1, 9)
    assert (cells.sum(axis=1) == ink.DIGITS).all()


def test_a_short_stream_is_the_front_of_a_long_one():
    np.testing.assert_array_equal(ink.stream("test", 10).pixels, ink.stream("test", 70).pixels[:10])


def test_mean_iou_is_the_average_over_the_classes_that_are_there():
    true = np.array([[[0, 0, 0, 0, 1, 1, 2, 2]]])
    guess = np.array([[[0, 0, 0, 1, 1, 1, 2, 0]]])
    assert ink.mean_iou(guess, true)[0] == pytest.approx((3 / 5 + 2 / 3 + 1 / 2) / 3)
    without = np.where(true == 1, 0, true)
    assert ink.mean_iou(without, without)[0] == 1
    assert ink.mean_iou(np.full_like(true, 1), without)[0] == 0


def test_a_painting_of_background_only_scores_what_the_card_says():
    classes = ink.stream("test", 256).classes
    assert ink.mean_iou(np.zeros_like(classes), classes).mean() == pytest.approx(0.29, abs=0.005)


def test_labelled_scenes_hold_digits_of_their_split_only():
    assert ink.compose(np.random.default_rng(0), "train", 4, scenes.Warp(0.2)).classes.max() == 2
    first, other = (ink.compose(np.random.default_rng(0), s, 4) for s in ("train", "test"))
    assert not np.array_equal(first.classes, other.classes)
