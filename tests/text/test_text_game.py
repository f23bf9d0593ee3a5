"""The game of a prompt, against the bare model on each prompt that a coalition makes."""

import copy
import itertools

import pytest
import torch
from test_continuation import step_by_step
from transformers import MistralConfig, MistralForCausalLM

import attrfunc as af
import language_models as tiny
from attrfunc.text import game, segments

ANSWER = [21, 8, 130]
MODELS = {**tiny.CAUSAL, "t5": tiny.t5}
PARTS = segments(tiny.byte_level(), "The capital of Italy is", by="word")
N = len(PARTS)
EVERY = torch.tensor(list(itertools.product([False, True], repeat=N)))


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param()


def expected(model, prompts):
    return torch.stack([step_by_step(model, list(prompt), ANSWER) for prompt in prompts])


@pytest.mark.parametrize("options", [{"share": False}, {"share": True}, {"batch_size": 3}, {}], ids=str)
def test_deletion(model, options):
    says = game(model, PARTS, ANSWER, **options)
    assert torch.allclose(says(EVERY), expected(model, [PARTS.present(mask) for mask in EVERY]), atol=1e-4)
    assert says.evaluations == 16


@pytest.mark.parametrize("name", tiny.CAUSAL)
def test_deletion_by_mask_is_deletion_of_tokens(name):
    says = af.text.continuation(tiny.CAUSAL[name](), ANSWER)
    for mask in EVERY:
        hidden = torch.tensor([PARTS.kept(mask)]).long()
        by_mask = says(torch.tensor([PARTS.ids]), attention_mask=hidden)
        assert torch.allclose(by_mask, says([PARTS.present(mask)]), atol=1e-5)


def test_a_forward_that_was_wrapped_takes_the_same():
    model = copy.deepcopy(tiny.gpt2())
    inner = model.forward
    model.forward = lambda *args, **kwargs: inner(*args, **kwargs)
    found = game(model, PARTS, ANSWER, share=False)(EVERY)
    assert torch.allclose(found, game(tiny.gpt2(), PARTS, ANSWER, share=False)(EVERY), atol=1e-5)


def test_replacing_tokens_and_texts(model):
    kept = [PARTS.kept(mask) for mask in EVERY]
    replaced = [[one if here else 9 for one, here in zip(PARTS.ids, row, strict=True)] for row in kept]
    assert torch.allclose(game(model, PARTS, ANSWER, absent=9)(EVERY), expected(model, replaced), atol=1e-4)
    texts = ["A", "sky", "to", "Rome"]
    written = [" ".join(w if m else t for w, t, m in zip(PARTS.labels, texts, mask, strict=True)) for mask in EVERY]
    read = [tiny.byte_level()(text + " is")["input_ids"] for text in written]
    assert torch.allclose(game(model, PARTS, ANSWER, absent=texts)(EVERY), expected(model, read), atol=1e-4)


def test_a_function_of_presence_makes_any_input(model):
    plain = game(model, PARTS, ANSWER)(EVERY)
    for render in (
        lambda mask: PARTS.present(mask),
        lambda mask: PARTS.render(mask),
        lambda mask: {"input_ids": torch.tensor([PARTS.present(mask)])},
    ):
        assert torch.allclose(game(model, PARTS, ANSWER, absent=render)(EVERY), plain, atol=1e-4)


@pytest.mark.parametrize("name", tiny.CAUSAL)
def test_hidden_tokens_keep_the_others_in_their_places(name):
    model = tiny.CAUSAL[name]()
    found = game(model, PARTS, ANSWER, absent="mask")(EVERY)
    ids = torch.tensor([[*PARTS.ids, *ANSWER[:-1]]])
    for mask, row in zip(EVERY, found, strict=True):
        seen = torch.tensor([[*map(int, PARTS.kept(mask)), 1, 1]])
        places = torch.arange(ids.shape[1])[None]
        logits = model(ids, attention_mask=seen, position_ids=places).logits[0, -3:].log_softmax(-1)
        assert torch.allclose(row, logits[torch.arange(3), ANSWER], atol=1e-4)


def test_all_tokens_take_the_rows_of_one():
    model = tiny.llama()
    alone = []
    for t in range(3):
        says = game(model, PARTS, ANSWER)
        alone.append(af.shapley_values(says, says.full, target=af.text.token(t)))
        assert says.evaluations == 16
    as_examples, mapped = game(model, PARTS, ANSWER), game(model, PARTS, ANSWER)
    values = af.shapley_values(as_examples, as_examples.full.expand(3, -1), target=torch.arange(3))
    assert torch.equal(values, torch.cat(alone))
    every = torch.vmap(lambda t: af.shapley_values(mapped, mapped.full, target=t)[0])(torch.arange(3))
    assert torch.allclose(every, values, atol=1e-6)
    assert as_examples.evaluations == mapped.evaluations == 16
    change = as_examples(EVERY[[-1, 0]])
    assert torch.allclose(values.sum(1), change[0] - change[1], atol=1e-5)
    whole = af.shapley_values(as_examples, as_examples.full, target=af.text.sequence)
    assert torch.allclose(whole[0], values.sum(0), atol=1e-5)


METHODS = {
    "ablation": (af.feature_ablation, {}, N + 1),
    "banzhaf": (af.banzhaf_values, {}, 16),
    "owen": (af.owen_values, {"nesting": [[0, 1], [2, 3]]}, 16),
    "sampling": (af.shapley_sampling, {"n_samples": 3}, 16),
    "kernel": (af.kernel_shap, {"n_samples": 12}, 16),
    "lime": (af.lime, {"n_samples": 12}, 16),
    "gaussian process": (af.gaussian_process_shap, {"n_samples": 12}, 16),
}


@pytest.mark.parametrize(("method", "options", "most"), METHODS.values(), ids=METHODS)
def test_every_method_takes_it(method, options, most):
    """Which is what it gives for a table of the game's values, token by token."""
    table = {
        tuple(mask.tolist()): value for mask, value in zip(EVERY, game(tiny.llama(), PARTS, ANSWER)(EVERY), strict=True)
    }
    look_up = lambda x: torch.stack([table[tuple(row)] for row in x.bool().tolist()])
    says = game(tiny.llama(), PARTS, ANSWER)

    def call(function, x, target):
        random = {} if method in (af.feature_ablation, af.banzhaf_values, af.owen_values) else {
            "generator": torch.Generator().manual_seed(0)
        }  # fmt: skip
        return method(function, x, target=target, **options, **random)

    values = call(says, says.full.expand(3, -1), torch.arange(3))
    assert says.evaluations <= most
    for t in range(3):
        assert torch.allclose(values[t], call(look_up, says.full, t)[0], atol=1e-4)


def test_interactions():
    says = game(tiny.gpt2(), PARTS, ANSWER)
    one, two = af.shapley_interactions(says, says.full, target=af.text.sequence, order=2)
    assert one.shape == (1, N)
    assert torch.allclose(two, two.mT)
    assert says.evaluations == 16


def test_coalitions_that_make_one_prompt_are_read_once():
    texts = [*PARTS.labels[:2], "x", "y"]
    says = game(tiny.llama(), PARTS, ANSWER, absent=texts)
    says(EVERY)
    assert says.evaluations == 4
    assert (af.shapley_values(says, says.full, target=0)[0, :2] == 0).all()
    assert says.evaluations == 4


def test_sharing_is_exact_where_one_part_at_a_time_is_missing():
    text = " ".join(f"The {word} sat on the mat." for word in ("cat", "dog", "sky", "well", "Ann")) + " Who?"
    parts = segments(tiny.byte_level(), text, by="sentence")
    for build in tiny.CAUSAL.values():
        plain, shared = (game(build(), parts, ANSWER, share=share) for share in (False, True))
        a, b = (af.feature_ablation(g, g.full.expand(3, -1), target=torch.arange(3)) for g in (plain, shared))
        assert torch.allclose(a, b, atol=1e-4)
        assert a.abs().max() > 0.1


def test_a_sliding_window_is_not_shared():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(vocab_size=tiny.SIZE, sliding_window=4, num_key_value_heads=2, **sizes)
    model = MistralForCausalLM(config).eval().requires_grad_(False)
    plain, shared = (game(model, PARTS, ANSWER, share=share)(EVERY) for share in (False, True))
    assert torch.allclose(plain, shared, atol=1e-5)


@pytest.mark.parametrize("name", ["hf_device_map", "is_quantized"])
def test_models_that_are_spread_or_quantised_run_as_they_are(name, monkeypatch):
    model = tiny.llama()
    plain = game(model, PARTS, ANSWER)(EVERY)
    seen = []
    with monkeypatch.context() as patched:
        patched.setattr(model, name, {"": "cpu"}, raising=False)
        handle = model.register_forward_hook(lambda module, args, output: seen.append(module))
        assert torch.allclose(game(model, PARTS, ANSWER)(EVERY), plain, atol=1e-5)
        handle.remove()
    assert all(module is model for module in seen)
    assert seen


def test_classifiers_take_ordinary_targets():
    model, tokenizer = tiny.bert_classifier(), tiny.word_piece()
    parts = segments(tokenizer, "the cat sat on the mat", by="word")
    says = game(af.text.outputs(model), parts)
    logits = lambda mask: model(torch.tensor([parts.present(mask)])).logits[0]
    ones = torch.ones(len(parts)).bool()
    for number in range(len(parts)):
        without = ones.clone()
        without[number] = False
        expected = logits(ones) - logits(without)
        for target in range(3):
            found = af.feature_ablation(says, says.full, target=target)
            assert torch.allclose(found[0, number], expected[target], atol=1e-5)
    values = af.deep_lift(af.layer(af.text.outputs(model), "model.bert.embeddings.word_embeddings"),
                          torch.tensor([parts.ids]), baseline=0, target=1)  # fmt: skip
    assert values.shape == (1, len(parts.ids), 32)


def test_masked_models():
    model, tokenizer = tiny.bert_masked(), tiny.word_piece()
    parts = segments(tokenizer, "the cat sat on the [MASK] .", by="word", fixed="special")
    assert "[MASK]" not in parts.labels
    says = game(af.text.outputs(model, at=tokenizer.mask_token_id), parts, absent=tokenizer.mask_token_id)
    with pytest.raises(af.ArgumentError, match="a token that stands once in each"):
        says(~says.full)
    says = game(af.text.outputs(model, at=tokenizer.mask_token_id), parts)
    place = parts.ids.index(tokenizer.mask_token_id)
    assert torch.allclose(says(says.full)[0], model(torch.tensor([parts.ids])).logits[0, place], atol=1e-5)
    assert af.shapley_values(says, says.full, target=7).shape == (1, len(parts))


def test_any_function_of_tokens():
    says = game(af.text.outputs(lambda input_ids, attention_mask: input_ids.double()[:, :2]), PARTS)
    assert says(says.full).tolist() == [list(map(float, PARTS.ids[:2]))]


def test_contrasts_and_other_readings():
    model = tiny.llama()
    found = game(model, PARTS, ANSWER, score=af.text.contrast([4, 5]))(EVERY)
    for mask, row in zip(EVERY, found, strict=True):
        prompt = list(PARTS.present(mask))
        difference = step_by_step(model, prompt, ANSWER).sum() - step_by_step(model, prompt, [4, 5]).sum()
        assert torch.allclose(row, difference.view(1), atol=1e-4)
    text = game(model, PARTS, " Rome", score=af.text.contrast(" Paris"))
    assert torch.allclose(text(EVERY), -game(model, PARTS, " Paris", score=af.text.contrast(" Rome"))(EVERY), atol=1e-5)
    entropies = game(model, PARTS, ANSWER, score=af.text.entropy)(EVERY)
    assert entropies.shape == (16, 3)
    assert (entropies > 0).all()


LLAMA, CUT = tiny.llama(), segments(tiny.byte_level(), "The sky is ", by="word", fixed=None)
FREE = segments(tiny.byte_level(), "The sky is", fixed=None)
WRONG = {
    "no answer": (lambda: game(LLAMA, PARTS), "`target`: got None; .*For a classifier pass af.text.outputs"),
    "empty": (lambda: game(LLAMA, PARTS, ""), "`target`: got an empty text"),
    "no tokens": (lambda: game(LLAMA, PARTS, []), "`target`: got no tokens"),
    "joined": (lambda: game(LLAMA, CUT, "blue"), "a text that continues the prompt.*Let white space begin the answer"),
    "unknown": (lambda: game(LLAMA, PARTS, [999]), "tokens from 0 to 383"),
    "two answers": (
        lambda: game(af.text.continuation(LLAMA, [1]), PARTS, [2]),
        "`target`: .*None, since the model has",
    ),
    "absent": (
        lambda: game(LLAMA, PARTS, [1], absent="drop"),
        '`absent`: .*"delete", "mask", "render", a token, 4 texts',
    ),
    "few texts": (lambda: game(LLAMA, PARTS, [1], absent=["a"]), "`absent`: .* 4 texts"),
    "hidden last": (lambda: game(LLAMA, FREE, [1], absent="mask"), "a last token that is fixed"),
    "batch size": (lambda: game(LLAMA, PARTS, [1], batch_size=0), "`batch_size`: .*at least 1"),
    "no segments": (lambda: game(LLAMA, "The sky", [1]), "`segments`: .*af.text.segments"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_errors(call, message):
    with pytest.raises(af.ArgumentError, match=f"(?s)(game|continuation): .*{message}"):
        call()


def test_errors_of_a_call():
    says = game(LLAMA, FREE, [1])
    with pytest.raises(af.ArgumentError, match="a prompt of which a coalition leaves nothing"):
        says(~says.full)
    for presence in (torch.ones(1, 2), torch.ones(len(FREE)), torch.full((1, len(FREE)), 0.5), [[1]]):
        with pytest.raises(af.ArgumentError, match=r"`presence`: .*booleans of shape \(K, "):
            says(presence)
    with pytest.raises(af.ArgumentError, match=r"integrated_gradients: .*A game has no gradient"):
        af.ig(says, says.full.float())


LONG = segments(tiny.byte_level(), "The sky " * 80)


def test_prompts_longer_than_a_table_of_positions():
    with pytest.raises(af.ArgumentError, match="expected at most 128, which the model takes"):
        game(tiny.gpt2(), LONG, [1])(LONG.full)


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_rotary_positions_go_on(name):
    model = tiny.CAUSAL[name]()
    says = game(model, LONG, ANSWER)
    with pytest.warns(UserWarning, match="more than the 128 that the model was made for"):
        found = says(LONG.full)
    assert torch.allclose(found[0], step_by_step(model, list(LONG.ids), ANSWER), atol=1e-4)


def test_training_mode_is_warned_of():
    model = copy.deepcopy(tiny.gpt2()).train()
    with pytest.warns(UserWarning, match="game: the model is in training mode"):
        game(model, PARTS, ANSWER)
    assert model.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = copy.deepcopy(tiny.llama()).to(dtype)
    plain, shared = (game(model, PARTS, ANSWER, share=share) for share in (False, True))
    reference = game(tiny.llama(), PARTS, ANSWER)(EVERY).double()
    for says in (plain, shared):
        assert torch.allclose(says(EVERY).double(), reference, atol=1.0 if dtype == torch.bfloat16 else 1e-4)
    assert af.shapley_values(shared, shared.full, target=0).isfinite().all()
