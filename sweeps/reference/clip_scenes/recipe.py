"""Trains the `clip-scenes` backbone: a small CLIP for scenes of coloured digits.

The vision tower begins with the blocks of `vit-digits` of the same seed, which read digits, but
neither several at once nor colours; all else begins at random. Three stages. *Window*: on canvases
full of coloured digits every patch token names digit and colour of its own cell. *Match-window* and
*match*: images and captions are matched in batches of which half is one near gallery (captions that
differ in a word, see :mod:`sweeps.data.coloured_scenes`) and half independent scenes. Beside the
contrastive loss, a head shared by both embeddings names what stands in every cell: it gives them a
common language long before matching alone would. Heads are thrown away.

Where the numbers come from: learning rates, windows and distortions are those of `vit-digits`. From
scratch the tower would need that recipe's ten minutes to read digits before there is anything to
match. `stream_scale` is the mean standard deviation of a token of `vit-digits` before its first
block; CLIP normalises tokens there and ViT does not.

Shapes: B scenes, C = 9 cells, A cells in a window, N = 144 patch tokens, W window tokens, T caption
tokens, D width, E embedding, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    ViTForImageClassification,
)

from sweeps.data import captions, coloured_scenes
from sweeps.data.captions import NO_COLOUR, NO_DIGIT
from sweeps.data.coloured_scenes import CELLS, Captioned, Content
from sweeps.data.scenes import LATTICE, SIDE, Ints, Warp
from sweeps.data.streams import Split
from sweeps.reference import lattice, training, vit_digits
from sweeps.reference.lattice import PATCH
from sweeps.reference.training import Optimiser, Progress, fit, report, reproducible

READER: Final = Path(vit_digits.__file__).parent
READER_SEEDS: Final = 3  # of `vit-digits` that ship; seed 3 begins with the blocks of seed 0
EVALUATED: Final = 32  # galleries of a split behind each reported recall
GALLERY: Final = 32  # scenes of such a gallery


@dataclass(frozen=True)
class Stage(training.Stage):
    """One stretch of training."""

    cells: int = LATTICE  # side of the window of cells that the network sees
    kind: Literal["dense", "match"] = "match"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, besides the seed."""

    hidden_size: int = 96
    depth: int = 6
    text_hidden_size: int = 64
    text_depth: int = 2
    heads: int = 4
    embedding: int = 96
    stream_scale: float = 0.3
    batch_size: int = 32
    optimiser: Optimiser = field(default_factory=Optimiser)
    dense_share: float = 0.5  # weight of the dense loss beside the contrastive one
    naming_share: float = 2.0  # weight of the shared head's loss
    occupied: float = 0.5  # chance that a cell of a dense canvas holds a digit
    warp: Warp = field(
        default_factory=lambda: Warp(rotation=0.1, log_scale=0.05, shear=0.08, shift=0.2, ink=0.15)
    )
    stages: tuple[Stage, ...] = (
        Stage("window", steps=150, lr=1.4e-3, warmup=30, cells=2, kind="dense"),
        Stage("match-window", steps=750, lr=1.4e-3, warmup=15, cells=2),
        Stage("match", steps=150, lr=1e-3, warmup=15, decay=True),
    )


RECIPE: Final = Recipe()


def train(seed: int, out: Path, progress: Progress, budget: float = 1.0) -> dict[str, float]:
    """Train on one thread, save a Hugging Face directory to `out`, measure it.

    `budget` scales the number of steps of every stage. Returns `validation` and `test`, the shares
    of scenes of the saved model that find their caption in a near gallery of 32, and `loss_first`
    and `loss_last`, the means over the first and last tenth of the stages that match.
    """
    with reproducible(seed):
        trainee = _Trainee(_initialised(RECIPE, seed), RECIPE).train()
        rng = np.random.default_rng((seed, 1))
        traces = fit(
            f"clip-scenes seed {seed}",
            RECIPE.stages,
            lambda stage: _LOSSES[stage.kind](trainee, rng, RECIPE, stage),
            trainee.parameters(),
            RECIPE.optimiser,
            progress,
            budget,
        )
        matching = [t for t, s in zip(traces, RECIPE.stages, strict=True) if s.kind == "match"]
        return report(
            trainee.model, out, matching, lambda saved, split: recall(saved, split, EVALUATED)
        )


def _initialised(recipe: Recipe, seed: int) -> CLIPModel:
    """A new model whose tower has the blocks of `vit-digits`, which read digits already."""
    model = CLIPModel(_config(recipe))
    reader = ViTForImageClassification.from_pretrained(READER / f"seed-{seed % READER_SEEDS}").vit
    tower = model.vision_model
    with torch.no_grad():
        tower.embeddings.class_embedding.copy_(reader.embeddings.cls_token.flatten())
        projection = reader.embeddings.patch_embeddings.projection
        tower.embeddings.patch_embedding.weight.copy_(projection.weight)
        places = reader.embeddings.position_embeddings[0].clone()
        places[1:] += projection.bias  # CLIP's patch embedding has none
        tower.embeddings.position_embedding.weight.copy_(places)
        tower.pre_layrnorm.weight.fill_(recipe.stream_scale)
    tower.post_layernorm.load_state_dict(reader.layernorm.state_dict())
    for ours, theirs in zip(tower.encoder.layers, reader.layers, strict=True):
        for name, source in _BLOCK.items():
            ours.get_submodule(name).load_state_dict(theirs.get_submodule(source).state_dict())
    return model


_BLOCK: Final = {
    "layer_norm1": "layernorm_before",
    "layer_norm2": "layernorm_after",
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.out_proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""Modules of a CLIP layer and what the same modules are called in a ViT's."""


def _config(recipe: Recipe) -> CLIPConfig:
    text = CLIPTextConfig(
        hidden_size=recipe.text_hidden_size,
        intermediate_size=2 * recipe.text_hidden_size,
        num_hidden_layers=recipe.text_depth,
        num_attention_heads=recipe.heads,
        projection_dim=recipe.embedding,
        vocab_size=captions.VOCABULARY,
        max_position_embeddings=captions.LENGTH,
        pad_token_id=captions.PADDING,
        bos_token_id=captions.START,
        eos_token_id=captions.END,
    )
    vision = CLIPVisionConfig(
        hidden_size=recipe.hidden_size,
        intermediate_size=2 * recipe.hidden_size,
        num_hidden_layers=recipe.depth,
        num_attention_heads=recipe.heads,
        projection_dim=recipe.embedding,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",  # as in the ViT whose blocks it takes
    )
    return CLIPConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=recipe.embedding,
    )


class _Trainee(nn.Module):
    """The model with the heads that are thrown away."""

    def __init__(self, model: CLIPModel, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        classes = (NO_DIGIT + 1) + (NO_COLOUR + 1)
        self.dense = nn.Linear(recipe.hidden_size, classes)
        self.naming = nn.Linear(recipe.embedding, CELLS * classes)

    def see(self, pixels_BCSS: Tensor, window_BW: Tensor) -> tuple[Tensor, Tensor]:
        """Unit image embeddings [B, E] and the window tokens' class logits [B, W, K]."""
        with lattice.only(self.model.vision_model.embeddings, window_BW):
            output = self.model.vision_model(pixels_BCSS)
        patches_BWD = self.model.vision_model.post_layernorm(output.last_hidden_state[:, 1:])
        images_BE = self.model.visual_projection(output.pooler_output)
        return functional.normalize(images_BE, dim=-1), self.dense(patches_BWD)

    def read(self, tokens_BT: Tensor) -> Tensor:
        """Unit caption embeddings [B, E]."""
        texts_BE: Tensor = self.model.get_text_features(tokens_BT).pooler_output
        return functional.normalize(texts_BE, dim=-1)

    def named(self, embeddings_BE: Tensor) -> Tensor:
        """Class logits of every cell from an embedding: [B, C, K]."""
        scaled_BE = embeddings_BE * embeddings_BE.shape[-1] ** 0.5
        logits_BCK: Tensor = self.naming(scaled_BE).unflatten(-1, (CELLS, -1))
        return logits_BCK


def _dense_loss(
    trainee: _Trainee, rng: np.random.Generator, recipe: Recipe, stage: Stage
) -> tuple[Tensor, float]:
    """Every token of a window names its cell. Returns loss and share of right digits."""
    present_BC = rng.random((recipe.batch_size, CELLS)) < recipe.occupied
    shape = present_BC.shape
    content = Content(
        np.where(present_BC, rng.integers(0, NO_DIGIT, shape), NO_DIGIT),
        np.where(present_BC, rng.integers(0, NO_COLOUR, shape), NO_COLOUR),
    )
    drawn = coloured_scenes.render(rng, "train", content, recipe.warp)
    around = rng.integers(0, CELLS, recipe.batch_size)
    window_BW = lattice.tokens_within(lattice.corners(rng, around, stage.cells), stage.cells)
    _, logits_BWK = trainee.see(torch.from_numpy(drawn.pixels), window_BW)
    return _token_loss(logits_BWK, content, window_BW)


def _match_loss(
    trainee: _Trainee, rng: np.random.Generator, recipe: Recipe, stage: Stage
) -> tuple[Tensor, float]:
    """Images find captions and the reverse. Returns loss and recall@1 within the batch."""
    drawn, window_BW = _matchable(rng, recipe, stage)
    images_BE, logits_BWK = trainee.see(torch.from_numpy(drawn.pixels), window_BW)
    texts_BE = trainee.read(torch.from_numpy(drawn.content.captions()))
    similar_BB = images_BE @ texts_BE.T * trainee.model.logit_scale.exp().clamp(max=100)
    own_B = torch.arange(len(similar_BB))
    matching = functional.cross_entropy(similar_BB, own_B)
    matching = (matching + functional.cross_entropy(similar_BB.T, own_B)) / 2
    dense, _ = _token_loss(logits_BWK, drawn.content, window_BW)
    naming = sum(
        _class_loss(trainee.named(side_BE), drawn.content.digits, drawn.content.colours)
        for side_BE in (images_BE, texts_BE)
    )
    correct = (similar_BB.argmax(-1) == own_B).float().mean()
    loss = matching + recipe.dense_share * dense + recipe.naming_share * naming
    return loss, correct.item()


_LOSSES: Final = {"dense": _dense_loss, "match": _match_loss}


def _matchable(rng: np.random.Generator, recipe: Recipe, stage: Stage) -> tuple[Captioned, Tensor]:
    """Half a near gallery in one window, half independent scenes in windows of their own."""
    half = recipe.batch_size // 2
    around = rng.integers(0, CELLS, recipe.batch_size)
    corners = lattice.corners(rng, around, stage.cells)
    corners[:, :half] = corners[:, :1]
    cells_BA = lattice.cells_within(corners, stage.cells)
    num_objects = int(rng.integers(1, captions.MAX_OBJECTS + 1))
    content = coloured_scenes.joined(
        coloured_scenes.near(rng, half, cells_BA[0]),
        coloured_scenes.far(rng, cells_BA[half:], num_objects),
    )
    drawn = coloured_scenes.render(rng, "train", content, recipe.warp)
    return drawn, lattice.tokens_within(corners, stage.cells)


def _token_loss(logits_BWK: Tensor, content: Content, window_BW: Tensor) -> tuple[Tensor, float]:
    digits_BW = lattice.per_token(content.digits).gather(1, window_BW)
    colours_BW = lattice.per_token(content.colours).gather(1, window_BW)
    right_BW = logits_BWK[..., : NO_DIGIT + 1].argmax(-1) == digits_BW
    correct = right_BW[digits_BW != NO_DIGIT].float().mean()
    return _class_loss(logits_BWK, digits_BW, colours_BW), correct.item()


def _class_loss(logits_BMK: Tensor, digits_BM: Ints | Tensor, colours_BM: Ints | Tensor) -> Tensor:
    """Cross-entropy of digit and colour at M places, the digit's logits first."""
    digit_K, colour_K = torch.split(logits_BMK, [NO_DIGIT + 1, NO_COLOUR + 1], dim=-1)
    return functional.cross_entropy(
        digit_K.flatten(0, 1), torch.as_tensor(digits_BM).flatten()
    ) + functional.cross_entropy(colour_K.flatten(0, 1), torch.as_tensor(colours_BM).flatten())


@torch.inference_mode()
def recall(model: CLIPModel, split: Split, num_galleries: int) -> float:
    """Share of scenes, 0..1, that find their caption first in a near gallery of 32."""
    right = 0
    for number in range(num_galleries):
        drawn = coloured_scenes.gallery(split, "near", GALLERY, number)
        tokens = torch.from_numpy(drawn.content.captions())
        output = model(input_ids=tokens, pixel_values=torch.from_numpy(drawn.pixels))
        right += int((output.logits_per_image.argmax(-1) == torch.arange(GALLERY)).sum())
    return right / (num_galleries * GALLERY)
