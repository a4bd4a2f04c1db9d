"""The search for noise and the uncertainty map, against the paper's equations written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.vision._masking import TowerProbe
from methods.vision.ve_uncertainty_masking import VEUncertaintyMasking

B, N, D, LAYERS = 2, 9, 6, 4
WEIGHTS_LDD = torch.randn(LAYERS, D, D, generator=torch.Generator().manual_seed(0))


def features(pixels_BCHW: Tensor, num_layers: int) -> list[Tensor]:
    """A tower whose patches, 1 x 2 pixels of 3 channels, mix a little in every layer."""
    state_BND = pixels_BCHW.reshape(B, 3, N, 2).permute(0, 2, 1, 3).flatten(2)
    found = []
    for weight_DD in WEIGHTS_LDD[:num_layers]:
        state_BND = torch.tanh(state_BND @ weight_DD) + 0.1 * state_BND.mean(1, keepdim=True)
        found.append(state_BND)
    return found


def probe(states=features, seed: int = 0) -> TowerProbe:
    pixels_BCHW = torch.randn(B, 3, 3, 6, generator=torch.Generator().manual_seed(1))
    return TowerProbe(
        pixels_BCHW=pixels_BCHW,
        num_layers=LAYERS,
        states=states,
        generator=torch.Generator().manual_seed(seed),
    )


def moved(pixels_BCHW: Tensor) -> Tensor:
    still_BND = features(probe().pixels_BCHW, LAYERS)[-1]
    return (features(pixels_BCHW, LAYERS)[-1] - still_BND).square().mean()


def test_the_noise_follows_the_sign_of_the_errors_gradient_inside_the_bound() -> None:
    """Eq. 1, with the mean squared error itself and the projection pixel by pixel."""
    method, seen = VEUncertaintyMasking(epsilon=0.3, steps=7), probe()
    drawn = torch.rand(seen.pixels_BCHW.shape, generator=torch.Generator().manual_seed(0))
    expected = seen.pixels_BCHW + (2 * drawn - 1) * 0.3
    for _ in range(7):
        expected = expected.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(moved(expected), expected)
        stepped = expected.detach() + 0.1 * gradient.sign()
        expected = torch.min(torch.max(stepped, seen.pixels_BCHW - 0.3), seen.pixels_BCHW + 0.3)
    torch.testing.assert_close(method.attacked(seen), expected)


def test_it_moves_features_further_than_any_random_noise_of_the_same_size() -> None:
    method, seen = VEUncertaintyMasking(epsilon=0.1), probe()
    attacked = method.attacked(seen)
    assert (attacked - seen.pixels_BCHW).abs().max() <= 0.1 + 1e-6
    draw = torch.Generator().manual_seed(3)
    for _ in range(50):
        signs = torch.randint(0, 2, seen.pixels_BCHW.shape, generator=draw) * 2 - 1
        assert moved(attacked) > 1.5 * moved(seen.pixels_BCHW + 0.1 * signs)


def test_the_map_is_the_mean_of_min_max_normalised_deviations_of_early_layers() -> None:
    """Eq. 2; two of four layers are early."""
    method = VEUncertaintyMasking(steps=3)
    attacked = method.attacked(probe())
    found = method.uncertainty(probe())
    for image in range(B):
        normalised = []
        for layer in range(2):
            after = features(attacked, 2)[layer][image]
            before = features(probe().pixels_BCHW, 2)[layer][image]
            norms = [float((after[n] - before[n]).norm()) for n in range(N)]
            low, high = min(norms), max(norms)
            normalised.append([(norm - low) / (high - low) for norm in norms])
        expected = [sum(values) / 2 for values in zip(*normalised, strict=True)]
        torch.testing.assert_close(found[image], torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_a_patch_with_unstable_features_is_the_most_uncertain() -> None:
    unstable_BN = torch.zeros(B, N, dtype=torch.bool)
    unstable_BN[0, 5] = unstable_BN[1, 2] = True

    def states(pixels_BCHW: Tensor, num_layers: int) -> list[Tensor]:
        gain_BN1 = torch.where(unstable_BN, 20.0, 1.0)[..., None]
        return [gain_BN1 * state_BND for state_BND in features(pixels_BCHW, num_layers)]

    found = VEUncertaintyMasking(steps=3).uncertainty(probe(states))
    assert found.argmax(-1).tolist() == [5, 2]
    assert (found[unstable_BN] == 1).all()


def test_features_that_do_not_move_are_all_equally_certain() -> None:
    def states(pixels_BCHW: Tensor, num_layers: int) -> list[Tensor]:
        return [0 * state_BND for state_BND in features(pixels_BCHW, num_layers)]

    assert not VEUncertaintyMasking(steps=1).uncertainty(probe(states)).any()


@pytest.mark.parametrize(
    ("num_layers", "masked"),
    [(24, range(12, 17)), (12, range(6, 9)), (6, range(3, 4)), (2, range(1, 2)), (1, range(1))],
)
def test_middle_layers_are_those_of_the_paper_at_any_depth(num_layers: int, masked: range) -> None:
    assert VEUncertaintyMasking().masked_layers(num_layers) == masked


def test_the_paper_measures_ten_of_24_layers() -> None:
    asked = []

    def states(pixels_BCHW: Tensor, num_layers: int) -> list[Tensor]:
        asked.append(num_layers)
        return features(pixels_BCHW, num_layers)

    deep = TowerProbe(**{**vars(probe(states)), "num_layers": 24})
    VEUncertaintyMasking(steps=1).uncertainty(deep)
    assert asked == [24, 24, 10, 10]


def test_depths_that_enclose_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"masked_from 0.7 must be below masked_to 0.5"):
        VEUncertaintyMasking(masked_from=0.7, masked_to=0.5)


def test_nothing_is_saved() -> None:
    assert VEUncertaintyMasking().simulated == {"tokens"}
