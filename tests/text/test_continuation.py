"""Log-probabilities of an answer, against one forward pass of the bare model for each token."""

import copy

import pytest
import torch

import attrfunc as af
import language_models as tiny
from attrfunc.text import continuation

PROMPT = [5, 40, 17, 260, 99, 31]
SHORT = [7, 300, 12]
ANSWER = [21, 8, 130]


def step_by_step(model, prompt, answer):
    """log p of each token, from the prompt and the tokens before it alone; without masks, positions or batches."""
    found = []
    for count in range(len(answer)):
        if model.config.is_encoder_decoder:
            said = torch.tensor([[model.config.decoder_start_token_id, *answer[:count]]])
            logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=said).logits
        else:
            logits = model(torch.tensor([[*prompt, *answer[:count]]])).logits
        found.append(logits[0, -1].log_softmax(-1)[answer[count]])
    return torch.stack(found)


@pytest.fixture(params=[*tiny.CAUSAL.values(), tiny.t5], ids=[*tiny.CAUSAL, "t5"])
def model(request):
    return request.param()


def test_one_pass_is_one_for_each_token(model):
    found = continuation(model, ANSWER)(torch.tensor([PROMPT]))
    assert found.shape == (1, 3)
    assert torch.allclose(found[0], step_by_step(model, PROMPT, ANSWER), atol=1e-5)


def test_batches_of_several_lengths(model):
    says = continuation(model, torch.tensor(ANSWER))
    alone = torch.stack([step_by_step(model, prompt, ANSWER) for prompt in (PROMPT, SHORT)])
    assert torch.allclose(says([PROMPT, SHORT]), alone, atol=1e-5)
    for padded in ([0, 0, 0, *SHORT], [*SHORT, 9, 9, 9]):
        mask = torch.tensor([[1] * 6, [int(token in SHORT) for token in padded]])
        if padded[0] == 0 and model.config.is_encoder_decoder:
            continue  # whose positions count from the left
        assert torch.allclose(says(torch.tensor([PROMPT, padded]), attention_mask=mask), alone, atol=1e-5)


def test_by_name(model):
    says = continuation(model, ANSWER)
    ids = torch.tensor([PROMPT])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert torch.allclose(says(given), says(ids), atol=1e-6)
    assert set(given) == {"input_ids", "attention_mask"}


def test_nothing_is_changed(model):
    state, config = copy.deepcopy(model.state_dict()), copy.deepcopy(model.config.to_dict())
    model.train()
    says = continuation(model, ANSWER)
    assert model.training
    model.eval()
    says([PROMPT, SHORT])
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert model.config.to_dict() == config


def test_foils(model):
    one = continuation(model, [21], foil=[50])([PROMPT])
    logits = continuation(model, [21], reading=af.text.logits)([PROMPT]) - continuation(
        model, [50], reading=af.text.logits
    )([PROMPT])
    assert torch.allclose(one, logits, atol=1e-5)
    expected = step_by_step(model, PROMPT, ANSWER) - step_by_step(model, PROMPT, [4, 5, 6])
    assert torch.allclose(continuation(model, ANSWER, foil=[4, 5, 6])([PROMPT])[0], expected, atol=1e-5)
    expected = step_by_step(model, PROMPT, ANSWER).sum() - step_by_step(model, PROMPT, [4]).sum()
    assert torch.allclose(continuation(model, ANSWER, foil=[4])([PROMPT]), expected.view(1, 1), atol=1e-5)


def test_readings():
    model = tiny.llama()
    logits = model(torch.tensor([[*PROMPT, *ANSWER[:-1]]])).logits[0, -3:].double()
    p = logits.softmax(-1)
    chosen = p[torch.arange(3), ANSWER]
    for reading, expected in {
        af.text.log_probabilities: chosen.log(),
        af.text.odds: (chosen / (1 - chosen)).log(),
        af.text.entropy: -(p * p.log()).sum(-1),
        af.text.logits: logits[torch.arange(3), ANSWER],
    }.items():
        assert torch.allclose(continuation(model, ANSWER, reading=reading)([PROMPT])[0].double(), expected, atol=1e-4)


def test_odds_keep_their_digits():
    logits = torch.tensor([[[60.0, 0.0, 1.0]]])
    assert af.text.odds(logits, torch.tensor([0])).item() == pytest.approx(60 - torch.tensor([0.0, 1.0]).logsumexp(0))


def test_targets():
    numbers = torch.arange(6.0).view(2, 3)
    assert af.text.sequence(numbers).tolist() == [3, 12]
    assert af.text.token(-1)(numbers).tolist() == [2, 5]
    assert af.text.span(0, 2)(numbers).tolist() == [1, 7]
    with pytest.raises(af.ArgumentError, match="a token of the 3 of the answer"):
        af.text.token(3)(numbers)
    with pytest.raises(af.ArgumentError, match="0 <= start < stop <= 3"):
        af.text.span(2, 2)(numbers)


def test_layers_of_the_model_are_found():
    model = tiny.llama()
    view = af.layer(continuation(model, ANSWER), "model.model.embed_tokens")
    ids, baseline = torch.tensor([PROMPT]), torch.tensor([[5, 0, 0, 0, 0, 31]])
    values = af.deep_lift(view, ids, baseline=baseline, target=1)
    assert values.shape == (1, 8, 32)  # the answer's first two tokens are read, too
    says = continuation(model, ANSWER)
    change = (says(ids) - says(baseline))[0, 1]
    assert torch.allclose(values.sum(), change, atol=1e-3)
    assert (values[0, 6:] == 0).all()
    every = torch.vmap(lambda t: af.input_x_gradient(view, ids, target=t))(torch.arange(3))
    for t in range(3):
        assert torch.allclose(every[t], af.input_x_gradient(view, ids, target=t), atol=1e-5)


MODEL = tiny.llama()
WRONG = {
    "no answer": (lambda: continuation(MODEL, []), "continuation: argument `ids`: got no tokens"),
    "a text": (lambda: continuation(MODEL, "Paris"), "expected at least one token, as a sequence of integers"),
    "numbers": (lambda: continuation(MODEL, [1.5]), "expected at least one token"),
    "unknown": (lambda: continuation(MODEL, [9999]), "tokens from 0 to 383, which the model knows"),
    "no model": (lambda: continuation("gpt2", [1]), "expected a language model"),
    "no prompts": (lambda: continuation(MODEL, [1])([]), "`prompts`: got no prompts"),
    "one prompt": (lambda: continuation(MODEL, [1])(torch.tensor([1, 2])), r"Give one prompt a batch: ids\[None\]"),
    "too long": (
        lambda: continuation(tiny.gpt2(), [1])([[3] * 129]),
        "got 129 tokens with the answer; expected at most 128",
    ),
    "names": (lambda: continuation(MODEL, [1])({"pixel_values": torch.ones(1)}), "input_ids among them"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_errors(call, message):
    with pytest.raises(af.ArgumentError, match=message):
        call()


def test_a_classifier_is_no_language_model():
    with pytest.raises(af.ModelError, match=r"af.text.outputs\(model\)"):
        continuation(tiny.bert_classifier(), [1])([PROMPT])
