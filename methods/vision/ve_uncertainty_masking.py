"""Masking of uncertain visual tokens inside a vision encoder, against object hallucinations.

Seo et al., "On Epistemic Uncertainty of Visual Tokens for Object Hallucinations in Large
Vision-Language Models", arXiv:2510.09008. Projected gradient descent looks for noise on the image,
at most ``epsilon`` in any pixel, that moves the encoder's features furthest: it maximises their
mean squared error to the original ones (eq. 1). A patch that the noise moves far in early layers is
uncertain: the norm of its deviation, min-max normalised over the patches of each early layer, is
averaged over those layers (eq. 2). In middle layers the attention output of the uncertain patches
is multiplied by 0 (eq. 4); attention weights, and so what other patches read of them, stay.

The layers are the paper's for LLaVA-1.5 (1 to 10 and 13 to 17 of 24), as shares of the depth. Ours:

* The paper silences what lies ``sigma_th`` standard deviations above the mean (eq. 3), with a
  threshold tuned for each model; a budget says how many instead, those with the highest values.
* The paper runs 200 steps; 20 are the default here. Its bound of 3 (of 255 grey levels) and its
  steps of 1 are divided by the standard deviation 0.27 of CLIP's normalisation, because a model
  reads normalised pixels; noise is not clipped to the range of colours.
* The first noise is drawn uniformly within the bound, as is usual for PGD (arXiv:1706.06083); the
  paper does not say how. Without any, the gradient of the squared error is zero.
* Features are those after the encoder's last layer, whichever layer a language model reads.

Nothing is saved: each step of the search runs the encoder forwards and backwards.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import override

from methods.base import Paper
from methods.vision._masking import MaskingMethod, TowerProbe

STEPS_TO_CROSS = 3
"""Steps from the original pixel to the bound: the paper's 3 grey levels in steps of 1."""


class VEUncertaintyMasking(MaskingMethod):
    """Silence the patches that adversarial noise on the image moves furthest."""

    version: ClassVar[int] = 2
    paper: ClassVar[Paper | None] = Paper(
        title=(
            "On Epistemic Uncertainty of Visual Tokens for Object Hallucinations in Large "
            "Vision-Language Models"
        ),
        arxiv="2510.09008",
        catalogue="ve-uncertainty-masking",
    )

    epsilon: float = Field(
        default=0.044, gt=0, description="Largest change of a normalised pixel by the noise."
    )
    steps: int = Field(default=20, ge=1, description="Gradient steps of the search for noise.")
    measured_to: float = Field(
        default=10 / 24, gt=0, le=1, description="Depth up to which deviations are measured."
    )
    masked_from: float = Field(
        default=12 / 24, ge=0, lt=1, description="Depth from which uncertain patches are masked."
    )
    masked_to: float = Field(
        default=17 / 24, gt=0, le=1, description="Depth up to which they are masked."
    )

    @model_validator(mode="after")
    def _some_depth_is_masked(self) -> Self:
        if self.masked_from >= self.masked_to:
            raise ValueError(
                f"masked_from {self.masked_from:g} must be below masked_to {self.masked_to:g}"
            )
        return self

    @override
    def masked_layers(self, num_layers: int) -> range:
        """The layers between the two depths, at least one."""
        first = min(_layers(self.masked_from, num_layers), num_layers - 1)
        return range(first, max(_layers(self.masked_to, num_layers), first + 1))

    @override
    def uncertainty(self, probe: TowerProbe) -> Tensor:
        """The map U of eq. 2, [B, N] in [0, 1]."""
        num_measured = max(_layers(self.measured_to, probe.num_layers), 1)
        attacked = probe.states(self.attacked(probe), num_measured)
        original = probe.states(probe.pixels_BCHW, num_measured)
        deviations_LBN = torch.stack(
            [
                (moved_BND.float() - still_BND.float()).norm(dim=-1)
                for moved_BND, still_BND in zip(attacked, original, strict=True)
            ]
        )
        return _min_max(deviations_LBN).mean(0)

    def attacked(self, probe: TowerProbe) -> Tensor:
        """The pixels with the noise that moves the features furthest, [B, C, H, W] (eq. 1)."""
        pixels_BCHW = probe.pixels_BCHW
        feature_BND = probe.states(pixels_BCHW, probe.num_layers)[-1].float()
        drawn_BCHW = torch.rand(pixels_BCHW.shape, generator=probe.generator)
        noise_BCHW = (2 * drawn_BCHW - 1).to(pixels_BCHW.device) * self.epsilon
        for _ in range(self.steps):
            gradient_BCHW = _gradient(probe, noise_BCHW, feature_BND)
            noise_BCHW = noise_BCHW + gradient_BCHW.sign() * (self.epsilon / STEPS_TO_CROSS)
            noise_BCHW = noise_BCHW.clamp(-self.epsilon, self.epsilon)
        return pixels_BCHW + noise_BCHW


def _gradient(probe: TowerProbe, noise_BCHW: Tensor, feature_BND: Tensor) -> Tensor:
    with torch.enable_grad():
        noise_BCHW = noise_BCHW.detach().requires_grad_()
        moved_BND = probe.states(probe.pixels_BCHW + noise_BCHW, probe.num_layers)[-1]
        # The sum: only the gradient's sign counts, and a mean's could underflow in half precision.
        error = (moved_BND.float() - feature_BND).square().sum()
        return torch.autograd.grad(error, noise_BCHW)[0]


def _min_max(values_LBN: Tensor) -> Tensor:
    low, high = values_LBN.amin(-1, keepdim=True), values_LBN.amax(-1, keepdim=True)
    smallest = torch.finfo(values_LBN.dtype).tiny
    return (values_LBN - low) / (high - low).clamp(min=smallest)


def _layers(depth: float, num_layers: int) -> int:
    """Layers above a depth, rounded half up."""
    return int(depth * num_layers + 0.5)
