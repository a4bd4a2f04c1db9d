"""Tiny random LLaVAs, prompts with images, and a slow decoder that shows what a cut should give."""

import pytest
import torch
from transformers import AutoConfig, CLIPVisionConfig, LlavaConfig

from methods.base import TokenMethod
from methods.composition.stack import Stack
from methods.contexts import VisualContext, VisualLayout
from methods.schedule import OneLayer, Progressive, Uniform
from methods.transform import TokenTransform

TEXT_MODELS = ("llama", "qwen3")
NUM_LAYERS, QUERY_HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 4, 4, 2, 8, 50
TOWER_LAYERS, TOWER_HEADS, TOWER_WIDTH, SIDE, P = 5, 2, 16, 16, 16
IMAGE = VOCABULARY - 1
ONE = VisualLayout(1, (4, 4))
THREE = VisualLayout(3, (4, 4), "several")
LAYOUTS = pytest.mark.parametrize("layout", [ONE, THREE], ids=["one-image", "three-images"])
SCHEDULES = pytest.mark.parametrize(
    "schedule", [Uniform(), OneLayer(layer=2), Progressive()], ids=lambda s: s.label
)
BATCH = 2


def config_of(model_type="llama", **changes):
    text = AutoConfig.for_model(
        model_type,
        vocab_size=VOCABULARY,
        hidden_size=QUERY_HEADS * HEAD_DIM,
        intermediate_size=32,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=QUERY_HEADS,
        num_key_value_heads=changes.pop("num_key_value_heads", KV_HEADS),
        head_dim=HEAD_DIM,
        initializer_range=0.3,  # attention far from uniform, so that what is cut matters
        eos_token_id=None,
    )
    vision = CLIPVisionConfig(
        hidden_size=TOWER_WIDTH,
        intermediate_size=16,
        num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=TOWER_HEADS,
        image_size=SIDE,
        patch_size=4,
        initializer_factor=3.0,
    )
    settings = {"vision_config": vision, "image_token_index": IMAGE} | changes
    return LlavaConfig(text_config=text, **settings)


def text(length, seed, batch=BATCH):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, IMAGE, (batch, length), generator=generator)


def inputs(layout, batch=BATCH):
    """Pixels and prompts: two words, then every image with three words behind it, then four."""
    generator = torch.Generator().manual_seed(layout.num_images)
    size = [SIDE // 4 * tokens for tokens in layout.grid]
    pixels = torch.randn(batch, layout.num_images, 3, *size, generator=generator)
    parts = [text(2, 0, batch)]
    for image in range(layout.num_images):
        parts += [torch.full((batch, layout.per_image), IMAGE), text(3, 10 + image, batch)]
    return pixels, layout, torch.cat([*parts, text(4, 1, batch)], 1)


REST = text(3, 2)
EMPTY = REST[:, :0]


class Scattered(TokenMethod[VisualContext]):
    """Keeps other tokens in every example, more from the front than from the back."""

    def transform(self, ctx):
        scores = torch.rand(
            ctx.batch, ctx.num_in, generator=torch.Generator().manual_seed(ctx.layer)
        )
        scores[1] -= torch.arange(ctx.num_in) / ctx.num_in
        return TokenTransform.keep(scores.topk(ctx.num_keep).indices.sort().values, ctx.num_in)


class MergedByPairs(TokenMethod[VisualContext]):
    """Puts tokens into random rows, with random weights, so that rows are in no order."""

    def transform(self, ctx):
        draw = torch.Generator().manual_seed(ctx.layer + 7)
        rows = torch.arange(ctx.num_in) % ctx.num_keep
        rows = torch.stack(
            [rows[torch.randperm(ctx.num_in, generator=draw)] for _ in range(ctx.batch)]
        )
        weights = torch.rand(rows.shape, generator=draw) + 0.1
        return TokenTransform.merge(rows, weights, ctx.num_keep)


def spy_on(contexts, place=VisualContext):
    """A method that keeps the first tokens and notes what it was shown, all of the tower too."""

    class Spy(TokenMethod[place]):
        def tower_layers(self, num_layers, _selected, /):
            return frozenset(range(num_layers))

        def transform(self, ctx):
            contexts.append(ctx)
            first = torch.arange(ctx.num_keep).expand(ctx.batch, -1)
            return TokenTransform.keep(first, ctx.num_in)

    return Spy()


def stack(*stages):
    return Stack(stages=[{"method": method, **settings} for method, settings in stages])


def given(pixels, ids):
    """All that the library is given for a prompt."""
    return {"input_ids": ids, "pixel_values": pixels.flatten(0, 1)}


def projected(plain, pixels):
    return plain.get_image_features(pixels).pooler_output


def turned_by(plain, layout):
    """The rotary positions of one example's tokens, as far as they are not the positions."""
    return lambda ids: None


def reference_logits(
    plain, pixels, prompt, rest, transforms, features_of=projected, turned_by=lambda ids: None
):
    """Logits of the last ``rest`` tokens, one example at a time and one layer after the other.

    Every token is a (position, hidden state) pair; a W before a layer replaces the visual pairs.
    Below, later tokens do not see the cache entries that a ``kv`` W has dropped. ``turned_by``
    gives every token's rotary positions where they are not the positions.
    """
    decoder, found = plain.model.language_model, []
    for example in range(len(prompt)):
        ids = torch.cat([prompt[example], rest[example]])
        features = torch.stack(list(features_of(plain, pixels[example])))
        turned = turned_by(ids)
        visual = list(
            zip((ids == IMAGE).nonzero()[:, 0].tolist(), features.flatten(0, 1), strict=True)
        )
        others = (ids != IMAGE).nonzero()[:, 0]
        words = list(zip(others.tolist(), plain.get_input_embeddings()(ids[others]), strict=True))
        for index, layer in enumerate(decoder.layers):
            if index in transforms["vlm"]:
                visual = reduced(visual, transforms["vlm"][index].dense()[example])
            tokens = sorted([*visual, *words], key=lambda token: token[0])
            positions = torch.tensor([[position for position, _ in tokens]])
            hidden = torch.stack([state for _, state in tokens])[None]
            hidden = layer(
                hidden,
                position_embeddings=decoder.rotary_emb(
                    hidden, positions if turned is None else turned[:, positions]
                ),
                attention_mask=visibility(transforms["kv"].get(index), example, positions, rest),
            )
            states = dict(zip(positions[0].tolist(), hidden[0], strict=True))
            visual = [(position, states[position]) for position, _ in visual]
            words = [(position, states[position]) for position, _ in words]
        last = hidden[:, hidden.shape[1] - rest.shape[1] :]
        found.append(plain.lm_head(decoder.norm(last)))
    return torch.cat(found)


def reduced(visual, dense_KN):
    states = torch.stack([state for _, state in visual])
    return [(visual[int(row.argmax())][0], row @ states) for row in dense_KN]


def visibility(transform, example, positions, rest):
    num_tokens = positions.shape[1]
    visible = torch.ones(QUERY_HEADS, num_tokens, num_tokens, dtype=torch.bool).tril()
    if transform is not None:
        kept = transform.dense().sum(1).view(-1, KV_HEADS, transform.num_in)[example] > 0
        by_head = kept.repeat_interleave(QUERY_HEADS // KV_HEADS, 0)
        visible[:, -rest.shape[1] :, : transform.num_in] = by_head[:, None]
    return visible[None]
