import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sweeps.data import coloured_scenes, scenes
from sweeps.data.corruptions import BLUR, CONTRAST, NOISE, SEVERITIES, corrupted

PIXELS = coloured_scenes.singles("validation", 16).pixels


def image(pixels):
    return np.clip(pixels * scenes.PIXEL_STD + scenes.PIXEL_MEAN, 0, 1)


@pytest.mark.parametrize("kind", ["noise", "blur", "contrast"])
def test_a_severer_corruption_changes_more(kind):
    change = [
        np.abs(corrupted(PIXELS, kind, severity) - PIXELS).mean()
        for severity in range(1, SEVERITIES + 1)
    ]
    assert change == sorted(change)
    assert change[0] > 0.01


def test_without_a_corruption_nothing_changes():
    assert corrupted(PIXELS, "none", 5) is PIXELS


def test_blur_is_the_gaussian_filter_of_scipy():
    for severity, sigma in enumerate(BLUR, 1):
        expected = gaussian_filter(image(PIXELS), sigma, axes=(2, 3), truncate=4.0)
        np.testing.assert_allclose(image(corrupted(PIXELS, "blur", severity)), expected, atol=1e-5)


def test_contrast_leaves_its_share_of_the_difference_to_the_mean():
    before, after = image(PIXELS), image(corrupted(PIXELS, "contrast", 2))
    assert after.std(axis=(2, 3)) == pytest.approx(CONTRAST[1] * before.std(axis=(2, 3)), rel=1e-3)
    assert after.mean(axis=(2, 3)) == pytest.approx(before.mean(axis=(2, 3)), abs=1e-4)


def test_noise_has_its_strength_and_is_the_same_for_a_front_of_the_batch():
    grey = np.zeros((8, 3, 48, 48), np.float32)
    noisy = corrupted(grey, "noise", 1)
    assert noisy.std() * scenes.PIXEL_STD == pytest.approx(NOISE[0], rel=0.02)
    np.testing.assert_array_equal(corrupted(grey[:3], "noise", 1), noisy[:3])
    assert not np.array_equal(noisy[0], noisy[1])
