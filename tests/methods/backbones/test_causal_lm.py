import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from methods.backbones import attention_tap
from methods.backbones.base import VacuousCompressionError
from methods.backbones.causal_lm import CausalLMBackbone
from methods.base import InfeasibleError, TokenMethod
from methods.contexts import CacheContext
from methods.controls.average_pooling import AveragePooling
from methods.controls.identity import Identity
from methods.controls.random import Random
from methods.kv.h2o import H2O
from methods.kv.knorm import Knorm
from methods.kv.recent_window import RecentWindow
from methods.kv.snapkv import SnapKV
from methods.registry import entries, entry
from methods.schedule import OneLayer, Progressive, Uniform, num_held
from methods.transform import TokenTransform

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
KV_IDS = [found.id for found in entries().values() if "kv" in found.places]
NUM_LAYERS, QUERY_HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 3, 4, 2, 8, 50
T = 24
EMPTY = torch.empty(2, 0, dtype=torch.long)
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": QUERY_HEADS * HEAD_DIM,
    "intermediate_size": 48,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": QUERY_HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "initializer_range": 0.3,  # attention far from uniform, so that what is evicted matters
    "eos_token_id": None,
    "sliding_window": None,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A randomly initialised model of every supported architecture, saved to disk."""
    found = {}
    for model_type in MODEL_TYPES:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SMALL))
        found[model_type] = tmp_path_factory.mktemp(model_type)
        model.save_pretrained(found[model_type])
    return found


@pytest.fixture(scope="module")
def backbones(folders):
    return {
        model_type: CausalLMBackbone.load(str(folder), None, torch.float32)
        for model_type, folder in folders.items()
    }


@pytest.fixture
def llama(backbones):
    return backbones["llama"]


def tokens(num_sequences, length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (num_sequences, length), generator=generator)


PROMPT = tokens(2, T)
CONTINUATION = tokens(2, 2, seed=2)
REST = pytest.mark.parametrize("rest", [EMPTY, CONTINUATION], ids=["last-token", "continuation"])


def spy_on(contexts):
    """A method that keeps the latest entries and notes what it was shown."""

    class Spy(RecentWindow):
        def transform(self, ctx):
            contexts.append(ctx)
            return super().transform(ctx)

    return Spy()


class Lopsided(TokenMethod[CacheContext]):
    """Merges everything from the last row's place on into the last row."""

    def transform(self, ctx):
        rows_N = torch.arange(ctx.num_in).clamp_max(ctx.num_keep - 1)
        return TokenTransform.merge(rows_N.expand(ctx.batch, -1), ctx.sizes_BN, ctx.num_keep)


class LopsidedBySize(Lopsided):
    proportional_attention = True


# The uncompressed path


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_architecture_answers_like_the_library_alone(folders, backbones, model_type):
    backbone = backbones[model_type]
    assert type(backbone.model).__name__ in CausalLMBackbone.architectures
    plain = AutoModelForCausalLM.from_pretrained(folders[model_type]).eval()
    whole = torch.cat([PROMPT, CONTINUATION], 1)
    expected = plain.generate(whole, max_new_tokens=5, do_sample=False)[:, whole.shape[1] :]
    assert torch.equal(backbone.generate(PROMPT, CONTINUATION, 5), expected)
    assert torch.equal(backbone.generate(whole, EMPTY, 5), expected)
    logits = backbone.continuation_logits(PROMPT, CONTINUATION)
    torch.testing.assert_close(logits, plain(whole).logits[:, T:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method_id", KV_IDS)
@pytest.mark.parametrize("schedule", [Uniform(), Progressive()], ids=lambda s: s.label)
def test_keep_ratio_1_is_exactly_the_baseline(llama, method_id, schedule):
    baseline = [llama.continuation_logits(PROMPT, rest) for rest in (EMPTY, CONTINUATION)]
    answer = llama.generate(PROMPT, EMPTY, 4)
    with llama.compressed(entry(method_id).method(), schedule, 1.0, 0) as compression:
        inside = [llama.continuation_logits(PROMPT, rest) for rest in (EMPTY, CONTINUATION)]
        assert torch.equal(llama.generate(PROMPT, EMPTY, 4), answer)
    assert all(map(torch.equal, inside, baseline))
    assert compression.tokens_per_layer == [T - 1] * NUM_LAYERS
    assert compression.transforms["kv"] == {}


@pytest.mark.parametrize("prompt", [PROMPT[:, :1], PROMPT[:, :0]], ids=["one", "none"])
def test_a_prompt_that_leaves_nothing_to_cache_is_refused(llama, prompt):
    with pytest.raises(ValueError, match="leaves nothing to cache"):
        llama.generate(prompt, EMPTY, 1)


# What compression computes


def answers_with_hidden_entries(folder, rest, transforms):
    """Logits of one forward pass without cache in which later tokens do not see evicted ones."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    whole = torch.cat([PROMPT, rest], 1)
    num_later = max(rest.shape[1], 1)
    first_later = whole.shape[1] - num_later

    def hide(layer):
        visible_BHTT = torch.ones(whole.shape[1], whole.shape[1], dtype=torch.bool).tril()
        visible_BHTT = visible_BHTT.repeat(2, QUERY_HEADS, 1, 1)
        if layer in transforms:
            kept_BN = transforms[layer].dense().sum(1) > 0
            by_head = kept_BN.view(2, KV_HEADS, 1, -1)
            by_head = by_head.repeat_interleave(QUERY_HEADS // KV_HEADS, 1)
            visible_BHTT[:, :, first_later:, : kept_BN.shape[1]] = by_head
        bias = torch.zeros(visible_BHTT.shape).masked_fill(~visible_BHTT, float("-inf"))
        return lambda module, args, kwargs: (args, kwargs | {"attention_mask": bias})

    for index, layer in enumerate(model.model.layers):
        layer.self_attn.register_forward_pre_hook(hide(index), with_kwargs=True)
    with torch.no_grad():
        return model(whole).logits[:, first_later:]


@REST
@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("method", [SnapKV(window_size=4), H2O()], ids=["snapkv", "h2o"])
def test_eviction_equals_a_full_cache_whose_evicted_entries_are_hidden(
    folders, backbones, model_type, method, rest
):
    backbone = backbones[model_type]
    with backbone.compressed(method, Progressive(), 0.2, 0) as compression:
        logits = backbone.continuation_logits(PROMPT, rest)
    expected = answers_with_hidden_entries(folders[model_type], rest, compression.transforms["kv"])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert (logits - backbone.continuation_logits(PROMPT, rest)).abs().max() > 1e-2


def test_a_later_first_cut_leaves_earlier_layers_whole(folders, llama):
    with llama.compressed(H2O(), OneLayer(layer=1), 0.25, 0) as compression:
        logits = llama.continuation_logits(PROMPT, CONTINUATION)
    assert compression.tokens_per_layer == [T, T // 4, T // 4]
    expected = answers_with_hidden_entries(
        folders["llama"], CONTINUATION, compression.transforms["kv"]
    )
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_tokens_fed_one_by_one_or_together_are_answered_alike(llama):
    with llama.compressed(SnapKV(), Progressive(), 0.3, 0):
        answer = llama.generate(PROMPT, CONTINUATION, 4)
        longer = torch.cat([CONTINUATION, answer[:, :3]], 1)
        fed_together = llama.continuation_logits(PROMPT, longer)[:, 1:].argmax(-1)
    assert torch.equal(fed_together, answer)


@REST
def test_merged_entries_weighed_by_size_stand_for_all_they_hold(folders, rest):
    """With equal keys attention is an average of values, which merging by size keeps."""
    backbone = CausalLMBackbone.load(str(folders["llama"]), None, torch.float32)
    for layer in backbone.model.model.layers:
        layer.self_attn.k_proj.weight.zero_()
    baseline = backbone.continuation_logits(PROMPT, rest)
    with backbone.compressed(LopsidedBySize(), Uniform(), 0.3, 0):
        by_size = backbone.continuation_logits(PROMPT, rest)
    torch.testing.assert_close(by_size, baseline, atol=1e-4, rtol=1e-4)
    with backbone.compressed(Lopsided(), Uniform(), 0.3, 0):
        unweighed = backbone.continuation_logits(PROMPT, rest)
    assert (unweighed - baseline).abs().max() > 1e-2


@pytest.mark.parametrize(("rest", "num_in"), [(EMPTY, T - 1), (CONTINUATION, T)])
def test_methods_see_the_cache_and_all_queries_of_the_prompt(folders, llama, rest, num_in):
    contexts = []
    with llama.compressed(spy_on(contexts), Uniform(), 0.5, 0):
        llama.generate(PROMPT, rest, 1)
    assert [context.layer for context in contexts] == list(range(NUM_LAYERS))
    group = QUERY_HEADS // KV_HEADS
    for context in contexts:
        assert context.keys_BND.shape == (2 * KV_HEADS, num_in, HEAD_DIM)
        assert context.queries_BGTD.shape == (2 * KV_HEADS, group, T, HEAD_DIM)
        assert context.num_heads == KV_HEADS
        assert context.num_keep == num_held(0.5, num_in)
    plain = AutoModelForCausalLM.from_pretrained(folders["llama"]).eval()
    cache = plain(PROMPT).past_key_values
    for context, layer in zip(contexts, cache.layers, strict=True):
        keys_BKND = context.keys_BND.view(2, KV_HEADS, num_in, HEAD_DIM)
        values_BKND = context.values_BND.view(2, KV_HEADS, num_in, HEAD_DIM)
        torch.testing.assert_close(keys_BKND, layer.keys[:, :, :num_in])
        torch.testing.assert_close(values_BKND, layer.values[:, :, :num_in])


def test_queries_of_a_group_reproduce_the_models_own_attention(folders, llama):
    contexts = []
    with llama.compressed(spy_on(contexts), Uniform(), 0.5, 0):
        llama.generate(PROMPT, CONTINUATION, 1)
    model = AutoModelForCausalLM.from_pretrained(folders["llama"], attn_implementation="eager")
    attention = model.eval()(PROMPT, output_attentions=True).attentions
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    for context, expected_BHTT in zip(contexts, attention, strict=True):
        logits = context.queries_BGTD @ context.keys_BND.mT[:, None] * context.scaling
        ours = logits.masked_fill(future, float("-inf")).softmax(-1)
        torch.testing.assert_close(ours.view(expected_BHTT.shape), expected_BHTT)


# What compression costs


@pytest.mark.parametrize("method_id", [found for found in KV_IDS if found != "identity"])
@pytest.mark.parametrize("keep_ratio", [0.01, 0.3])
@REST
def test_every_method_keeps_its_budget_and_frees_the_rest(llama, method_id, keep_ratio, rest):
    num_in = T if rest.shape[1] else T - 1
    expected = [num_held(f, num_in) for f in Progressive().held(keep_ratio, NUM_LAYERS)]
    with llama.compressed(entry(method_id).method(), Progressive(), keep_ratio, 0) as compression:
        assert llama.generate(PROMPT, rest, 3).shape == (2, 3)
    assert compression.tokens_per_layer == expected
    assert expected[-1] == max(1, round(keep_ratio * num_in))
    assert compression.kv_bytes == sum(expected) * 2 * KV_HEADS * HEAD_DIM * 4
    assert compression.reads == 3 * NUM_LAYERS
    assert compression.seconds > 0


def test_bytes_held_follow_from_the_config(llama):
    per_token = CausalLMBackbone.kv_bytes_per_token(llama.model.config.to_dict(), "float32")
    with llama.compressed(Identity(), Uniform(), 1.0, 0) as compression:
        llama.generate(PROMPT[:1], EMPTY, 1)
        assert compression.kv_bytes == per_token * (T - 1)
        llama.generate(PROMPT, CONTINUATION, 1)
        assert compression.kv_bytes == per_token * T
    assert CausalLMBackbone.kv_bytes_per_token(llama.model.config.to_dict(), "bfloat16") == (
        per_token // 2
    )


def test_bytes_per_token_fill_in_what_old_configs_leave_out():
    old = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 5,
    }
    assert CausalLMBackbone.kv_bytes_per_token(old, "float16") == 5 * 2 * 32 * 2


def test_half_precision_models_hold_half_the_bytes(folders):
    backbone = CausalLMBackbone.load(str(folders["llama"]), None, torch.bfloat16)
    with backbone.compressed(SnapKV(), Uniform(), 0.5, 0) as compression:
        backbone.generate(PROMPT, CONTINUATION, 2)
    assert compression.kv_bytes == NUM_LAYERS * (T // 2) * 2 * KV_HEADS * HEAD_DIM * 2


# What compression leaves behind, and when it refuses


def test_nothing_is_left_after_the_block(llama):
    def hooks():
        return [
            len(store)
            for module in llama.model.modules()
            for name, store in vars(module).items()
            if name.endswith("_hooks") and store is not None
        ]

    before, hooks_before = llama.continuation_logits(PROMPT, CONTINUATION), hooks()
    with llama.compressed(SnapKV(), Progressive(), 0.2, 0):
        llama.generate(PROMPT, CONTINUATION, 2)
    assert torch.equal(llama.continuation_logits(PROMPT, CONTINUATION), before)
    assert hooks() == hooks_before
    assert not any(attention_tap.is_tapped(module) for module in llama.model.modules())


def test_an_error_inside_the_block_comes_out_and_leaves_nothing(llama):
    before = llama.continuation_logits(PROMPT, EMPTY)
    with pytest.raises(ZeroDivisionError), llama.compressed(SnapKV(), Uniform(), 0.2, 0):
        raise ZeroDivisionError
    assert torch.equal(llama.continuation_logits(PROMPT, EMPTY), before)


def test_blocks_do_not_nest(llama):
    with llama.compressed(Knorm(), Uniform(), 0.5, 0):
        with (
            pytest.raises(RuntimeError, match="do not nest"),
            llama.compressed(Knorm(), Uniform(), 0.2, 0),
        ):
            pytest.fail("the block must not be entered")
        answer = llama.generate(PROMPT, CONTINUATION, 3)
    with llama.compressed(Knorm(), Uniform(), 0.5, 0):
        assert torch.equal(llama.generate(PROMPT, CONTINUATION, 3), answer)


def run_past_the_backbone(llama):
    llama.generate(PROMPT, EMPTY, 1)
    llama.model(PROMPT)


@pytest.mark.parametrize(
    "forward_pass",
    [
        lambda llama: llama.generate(PROMPT[:, :3], EMPTY, 1),
        lambda llama: llama.generate(PROMPT, EMPTY, 0),
        run_past_the_backbone,
    ],
    ids=["rounded-to-everything", "never-read", "past-the-backbone"],
)
def test_compression_without_effect_is_an_error(llama, forward_pass):
    with pytest.raises(VacuousCompressionError), llama.compressed(Knorm(), Uniform(), 0.8, 0):
        forward_pass(llama)


def test_one_pass_without_effect_among_good_ones_is_an_error(llama):
    def three_passes():
        with llama.compressed(Knorm(), Uniform(), 0.8, 0):
            for length in (T, 2, T):
                llama.generate(PROMPT[:, :length], EMPTY, 1)

    with pytest.raises(VacuousCompressionError, match="1 of 3 forward passes"):
        three_passes()


@pytest.mark.parametrize(
    "method", [SnapKV(), H2O(), Knorm(), RecentWindow(), AveragePooling()], ids=repr
)
def test_a_batch_gives_what_its_examples_give_alone(llama, method):
    prompt, rest = tokens(4, T, seed=5), tokens(4, 2, seed=6)
    with llama.compressed(method, Progressive(), 0.3, 0):
        together = llama.continuation_logits(prompt, rest)
        alone = [llama.continuation_logits(prompt[i : i + 1], rest[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_draws_repeat_between_blocks_and_differ_within_one(llama):
    def kept(seed):
        found = []
        with llama.compressed(Random(), Uniform(), 0.5, seed) as compression:
            for _ in range(2):
                llama.generate(PROMPT, EMPTY, 1)
                found.append([compression.transforms["kv"][i].cols for i in range(NUM_LAYERS)])
        return found

    first, second = kept(0)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], kept(1)[0][0])
    again = kept(0)
    assert all(map(torch.equal, first + second, again[0] + again[1]))


# What cannot work


def config_of(model_type, **changes):
    return AutoConfig.for_model(model_type, **(SMALL | changes)).to_dict()


@pytest.mark.parametrize(
    ("config", "method", "reason"),
    [
        (config_of("llama", num_key_value_heads=3), Knorm, "4 query heads"),
        (config_of("mistral", sliding_window=16), Knorm, "last 16 tokens"),
        (
            config_of("qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=1),
            Knorm,
            "last 16 tokens",
        ),
    ],
    ids=["uneven-heads", "mistral-window", "qwen-window"],
)
def test_the_reason_is_given_where_a_method_cannot_work(config, method, reason):
    assert reason in CausalLMBackbone.why_not(config, method())


def test_vision_methods_are_refused_by_name():
    vision = [found for found in entries().values() if found.places == ("vision",)]
    assert vision
    for found in vision:
        with pytest.raises(InfeasibleError, match=f"{found.id} attaches to vision, .* has kv"):
            CausalLMBackbone.stages(found.method(), Uniform(), 0.5)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("method_id", KV_IDS)
def test_every_kv_method_works_on_every_architecture(model_type, method_id):
    assert CausalLMBackbone.why_not(config_of(model_type), entry(method_id).method()) is None


def test_layers_are_read_from_the_config(llama):
    assert llama.num_layers == NUM_LAYERS
    assert CausalLMBackbone.layers_in(llama.model.config.to_dict()) == NUM_LAYERS
