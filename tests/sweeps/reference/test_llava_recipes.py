import math

import numpy as np
import pytest
import torch
from transformers import CLIPVisionModel, LlavaForConditionalGeneration

from sweeps.data import dialogues, mosaics, wording
from sweeps.reference import llava, tower
from sweeps.reference.llava_scenes import recipe as llava_scenes
from sweeps.reference.llava_video import recipe as llava_video


@pytest.mark.parametrize(
    ("recipe", "budget"), [(llava_scenes, 0.01), (llava_video, 0.02)], ids=["scenes", "video"]
)
def test_a_short_training_lowers_the_loss_and_saves_a_loadable_model(
    recipe, budget, tmp_path, monkeypatch
):
    monkeypatch.setattr(recipe, "EVALUATED", 4)
    monkeypatch.setattr(
        llava_scenes, "RECIPE", llava_scenes.Recipe(single=32, several=32, anyres=8)
    )
    monkeypatch.setattr(llava_video, "RECIPE", llava_video.Recipe(videos=8))
    lines, threads = [], torch.get_num_threads()
    result = recipe.train(0, tmp_path, lines.append, budget=budget)
    assert result["loss_last"] < result["loss_first"]
    assert 0 <= result["validation"] <= 1
    assert lines
    assert torch.get_num_threads() == threads
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert LlavaForConditionalGeneration.from_pretrained(tmp_path).dtype == torch.float32


def small_llava():
    text = llava.text_config(hidden_size=16, depth=2, heads=2, initializer_range=0.1)
    config = llava.config(tower.TowerRecipe(hidden_size=16, heads=2, depth=3), text)
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(config).eval()


def test_features_computed_once_give_the_answers_of_the_whole_model():
    model = small_llava()
    drawn = dialogues.stream("validation", "anyres", 4)
    prompt = wording.prompt(drawn.names, tower.TOKENS)
    flat = tower.features(model.model.vision_tower, drawn.pixels.reshape(-1, 3, 32, 32))
    turns = [
        [(tuple(question), answer)]
        for question, answer in zip(
            drawn.questions[:, 0].tolist(), drawn.answers[:, 0].tolist(), strict=True
        )
    ]
    trainee = llava.Trainee(model)
    torch.nn.init.zeros_(trainee.places.weight), torch.nn.init.zeros_(trainee.places.bias)
    loss, _ = trainee.loss(flat.view(4, 5, -1, 16), drawn.names, turns)
    loss -= llava.PLACE_SHARE * math.log(llava.MOST_IMAGES)  # a head that knows nothing
    tokens = np.concatenate([np.tile(prompt, (4, 1)), drawn.questions[:, 0]], axis=1)
    logits = model(
        input_ids=torch.from_numpy(tokens),
        pixel_values=torch.from_numpy(drawn.pixels).flatten(0, 1),
    ).logits[:, -1]
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(drawn.answers[:, 0]))
    torch.testing.assert_close(loss, expected)


def test_a_packed_answer_does_not_see_itself():
    trainee, features = llava.Trainee(small_llava()), torch.randn(1, 1, 64, 16)
    turns = [((9, 4, 28), answer) for answer in (17, 18)]
    one, other = (trainee.loss(features, ("picture",), [[turn]])[0] for turn in turns)
    both = trainee.loss(features, ("picture",), [turns])[0]
    assert one != other
    assert not torch.isclose(both, (one + other) / 2)  # the second question sees the first answer


def test_cell_labels_land_on_their_patch_tokens():
    cells = np.arange(16)[None]
    tokens = tower.per_token(cells).reshape(8, 8)
    for cell in range(16):
        row, column = 2 * (cell // 4), 2 * (cell % 4)
        assert (tokens[row : row + 2, column : column + 2] == cell).all()


def test_shipped_towers_attend_to_digits_from_the_class_token():
    folder = llava_video.SHIPPED / "seed-0"
    model = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
    seen: CLIPVisionModel = model.model.vision_tower
    rng = np.random.default_rng(0)
    objects = mosaics.scatter(rng, "test", 4, rng.integers(2, 7, 64))
    pixels = torch.from_numpy(mosaics.pictures(rng, "test", objects, 4))
    with torch.inference_mode():
        attention = seen(pixels, output_attentions=True).attentions[tower.SELECTED]
    on_digits = torch.from_numpy(tower.per_token(mosaics.labels_of(objects, 4)[0])) != 10
    from_class = attention.mean(1)[:, 0, 1:]
    assert from_class[on_digits].mean() > 2 * from_class[~on_digits].mean()
