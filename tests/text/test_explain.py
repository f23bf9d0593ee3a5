"""Explanations of answers: values, what is told beside them, and how they are kept and shown."""

import copy
import html.parser
import json

import pytest
import torch
from test_continuation import step_by_step

import attrfunc as af
import language_models as tiny
from attrfunc.text import TextAttribution, explain, segments

ANSWER = [21, 8, 130]
TEXT = "The capital of Italy is it"
PARTS = segments(tiny.byte_level(), TEXT, by="token")
IDS = list(PARTS.ids)
N = len(PARTS)
MODELS = {"llama": tiny.llama, "gpt2": tiny.gpt2, "t5": tiny.t5}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param()


def test_shapley_values_of_each_token(model):
    found = explain(af.shapley_values, model, PARTS, ANSWER)
    assert found.values.shape == (3, N)
    assert found.evaluations == 2**N
    empty = list(PARTS.present([False] * N))
    assert torch.allclose(found.scores.float(), step_by_step(model, IDS, ANSWER), atol=1e-4)
    assert torch.allclose(found.baseline_scores.float(), step_by_step(model, empty, ANSWER), atol=1e-4)
    assert torch.allclose(found.values.sum(1), found.scores - found.baseline_scores, atol=1e-4)
    assert found.gap.abs().max() < 1e-4
    assert torch.equal(found.sequence, found.values.sum(0))
    whole = explain(af.shapley_values, model, PARTS, ANSWER, each_token=False)
    assert torch.allclose(whole.values[0], found.sequence, atol=1e-4)
    assert whole.outputs == ("".join(found.outputs),)


def test_ablation_is_what_is_lost(model):
    found = explain(af.feature_ablation, model, PARTS, ANSWER)
    for number in range(N):
        rest = list(PARTS.present([other != number for other in range(N)]))
        lost = step_by_step(model, IDS, ANSWER) - step_by_step(model, rest, ANSWER)
        assert torch.allclose(found.values[:, number].float(), lost, atol=1e-4)
    assert found.evaluations == N + 2
    assert found.gap.abs().max() > 0.01  # which is told of a method that is not complete


GRADIENT = {
    "deep_lift": (af.deep_lift, {}, 1e-3),
    "ig": (af.ig, {"n_steps": 100}, 5e-2),
    "gradient_shap": (af.gradient_shap, {"n_samples": 200, "generator": 0}, 0.5),
    "lrp": (af.lrp, {}, None),
    "input_x_gradient": (af.input_x_gradient, {}, None),
}


@pytest.mark.parametrize("name", GRADIENT)
def test_at_embeddings(name, model):
    method, options, most = GRADIENT[name]
    if "generator" in options:
        options = {**options, "generator": torch.Generator().manual_seed(0)}
    score = af.text.logits if name == "lrp" else None
    found = explain(method, model, PARTS, ANSWER, absent=7, score=score, **options)
    replaced = [7 if owner >= 0 else token for token, owner in zip(IDS, PARTS.owners, strict=True)]
    if score is None:
        assert torch.allclose(found.scores.float(), step_by_step(model, IDS, ANSWER), atol=1e-4)
    if most is None:
        assert found.baseline_scores is None
        assert found.elsewhere.abs().max() > 0
    else:
        assert torch.allclose(found.baseline_scores.float(), step_by_step(model, replaced, ANSWER), atol=1e-4)
        assert found.elsewhere.abs().max() < 1e-5
        assert found.gap.abs().max() < most * max(1, found.change.abs().max())
    for t in (0, 2):
        if name != "gradient_shap":  # which draws anew
            alone = explain(method, model, PARTS, ANSWER, absent=7, score=score or af.text.token(t), **options)
            rows = alone.values if score is None else alone.values[t : t + 1]
            assert torch.allclose(found.values[t], rows[0], atol=1e-4 * float(found.values.abs().max()))


def test_an_embedding_as_baseline():
    model = tiny.llama()
    row = model.get_input_embeddings().weight[7]
    between = explain(af.deep_lift, model, PARTS, ANSWER, absent=(row + model.get_input_embeddings().weight[8]) / 2)
    assert between.gap.abs().max() < 1e-3
    by_token, by_row = (explain(af.ig, model, PARTS, ANSWER, absent=absent) for absent in (7, row))
    assert torch.allclose(by_token.values, by_row.values, atol=1e-5)
    assert torch.allclose(by_token.baseline_scores, by_row.baseline_scores, atol=1e-4)


def test_influence_among_the_answers_tokens():
    model = tiny.gpt2()
    found = explain(af.feature_ablation, model, PARTS, ANSWER, among=True)
    for place in range(2):
        fed = [*ANSWER]
        fed[place] = 0
        logits = model(torch.tensor([[*IDS, *fed[:2]]])).logits[0, -3:].log_softmax(-1)
        lost = step_by_step(model, IDS, ANSWER) - logits[torch.arange(3), ANSWER]
        assert torch.allclose(found.among[place + 1 :, place].float(), lost[place + 1 :], atol=1e-4)
    assert (found.among.triu() == 0).all()
    lifted = explain(af.deep_lift, model, PARTS, ANSWER, among=True)
    assert (lifted.among.triu() == 0).all()
    assert torch.allclose(lifted.values.sum(1) + lifted.among.sum(1), lifted.change, atol=1e-3)
    assert lifted.gap.abs().max() < 1e-3


@pytest.mark.parametrize("method", [af.shapley_values, af.deep_lift])
def test_contrasts(method):
    model, foil = tiny.llama(), [4, 5, 6]
    one, other = (explain(method, model, PARTS, who) for who in (ANSWER, foil))
    found = explain(method, model, PARTS, ANSWER, score=af.text.contrast(foil))
    assert torch.allclose(found.values, one.values - other.values, atol=1e-4)
    assert torch.allclose(found.change, one.change - other.change, atol=1e-4)
    sums = explain(method, model, PARTS, ANSWER, score=af.text.contrast([4]))
    assert sums.values.shape == (1, N)
    assert sums.gap.abs().max() < 1e-3
    first = explain(method, model, PARTS, [21], score=af.text.contrast([4]))  # in one pass
    assert torch.allclose(first.sequence, explain(method, model, PARTS, [21], score=af.text.logits).sequence
                          - explain(method, model, PARTS, [4], score=af.text.logits).sequence, atol=1e-3)  # fmt: skip


def test_answers_that_the_model_gives():
    model, tokenizer = tiny.llama(), tiny.byte_level()
    config = copy.deepcopy(model.generation_config.to_dict())
    found = explain(af.feature_ablation, model, PARTS, generate={"max_new_tokens": 4})
    assert model.generation_config.to_dict() == config
    said, ids = [], list(IDS)
    for _ in range(4):
        said.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        ids.append(said[-1])
    assert 0 not in said  # the end
    assert found.answer == tokenizer.decode(said)
    assert torch.allclose(found.scores.float(), step_by_step(model, IDS, said), atol=1e-4)
    drawn = [
        explain(af.feature_ablation, model, PARTS, generate={"do_sample": True, "seed": s}).answer for s in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_classifiers():
    parts = segments(tiny.word_piece(), "the cat sat on the mat", by="word")
    found = explain(af.shapley_values, af.text.outputs(tiny.bert_classifier()), parts, 2)
    logits = tiny.bert_classifier()(torch.tensor([parts.ids])).logits[0]
    assert found.scores.item() == pytest.approx(logits[2].item(), abs=1e-4)
    assert found.gap.abs().max() < 1e-4


FOUND = explain(
    af.feature_ablation,
    tiny.llama(),
    segments(tiny.byte_level(), "The cat sat. What's <b>it</b> & $x$ is"),
    " Rome is blue",
)


def test_coarser_units():
    words = FOUND.by("word")
    assert "".join(words.labels).replace(" ", "") == "".join(FOUND.labels).replace(" ", "")
    assert "What's" in words.labels
    assert torch.allclose(words.sequence.sum(), FOUND.sequence.sum())
    place = words.labels.index("What's")
    inside = [n for n, (a, b) in enumerate(FOUND.spans) if words.spans[place][0] <= a < words.spans[place][1]]
    assert len(inside) > 1
    assert torch.allclose(words.values[:, place], FOUND.values[:, inside].sum(1))
    sentences = words.by("sentence")
    assert torch.allclose(sentences.values, FOUND.by("sentence").values)
    assert sentences.by("sentence") is sentences
    with pytest.raises(af.ArgumentError, match="expected one of 'sentence', 'paragraph'"):
        sentences.by("word")


def test_parts_of_the_answer():
    lengths = [len(output) for output in FOUND.outputs]
    assert torch.equal(FOUND.span(0, lengths[0]), FOUND.values[0])
    assert torch.allclose(FOUND.span(0), FOUND.sequence)
    assert torch.allclose(FOUND.span(FOUND.outputs[2]), FOUND.values[2])
    for wrong in ((3, 3), ("nowhere",), (0, 99)):
        with pytest.raises(af.ArgumentError, match="a part of the answer"):
            FOUND.span(*wrong)


def test_differences():
    zero = FOUND - FOUND
    assert (zero.values == 0).all()
    assert (zero.gap == 0).all()
    with pytest.raises(af.ArgumentError, match="attributions of the same segments"):
        FOUND - explain(af.feature_ablation, tiny.llama(), PARTS, ANSWER)
    with pytest.raises(af.ArgumentError, match="`other`: got int 3"):
        FOUND - 3


def test_files(tmp_path):
    FOUND.save(tmp_path / "found.json")
    again = TextAttribution.load(tmp_path / "found.json")
    for name in ("values", "scores", "baseline_scores", "elsewhere"):
        assert torch.equal(getattr(again, name), getattr(FOUND, name))
    for name in ("labels", "spans", "text", "outputs", "units", "fixed", "level", "method", "evaluations", "among"):
        assert getattr(again, name) == getattr(FOUND, name)
    assert again.by("word").labels == FOUND.by("word").labels
    assert json.loads(FOUND.to_json())["version"] == 1
    for text, message in (("{", "no JSON"), ("{}", "JSON of something else"), ("[1]", "JSON of something else")):
        with pytest.raises(af.ArgumentError, match=message):
            TextAttribution.from_json(text)


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def test_html_stays_text():
    page = Page()
    page.feed(FOUND._repr_html_())
    assert page.tags == {"div", "p", "b", "i", "span"}
    assert "What's <b>it</b> & $x$ is" in page.text
    assert page.text.count("feature_ablation") == 1
    assert page.text.count("The cat sat.") == 1 + len(FOUND.outputs)


def test_colours_are_those_of_pictures(tmp_path):
    heading = explain(af.feature_ablation, tiny.llama(), segments(tiny.byte_level(), "## The ▁sky\tĠ is"), ANSWER)
    for found in (FOUND, heading):
        pieces = found.coloured().passages[0].rows[0].pieces
        assert "".join(" " * piece.spaced + piece.text for piece in pieces) == found.text
    row = FOUND.coloured().passages[0].rows[0]
    place = int(FOUND.sequence.abs().argmax())
    strongest = [piece.numbers for piece in row.pieces].index((place,))
    red, blue = af.viz.tokens(["a", "b"], [1.0, -1.0]).passages[0].rows[0].colours()
    assert row.colours()[strongest] == (red if FOUND.sequence[place] > 0 else blue)
    assert FOUND.coloured().save(tmp_path / "found.html").exists()


def test_terminal():
    printed = str(FOUND)
    assert len(printed.splitlines()) == len(FOUND.labels) + 2
    assert "feature_ablation, nats; absent: delete" in printed
    control = explain(af.feature_ablation, tiny.llama(), segments(tiny.byte_level(), "a\x1b[2J b c"), ANSWER)
    assert "\x1b" not in str(control)
    place = FOUND.sequence.abs().argmax()
    assert FOUND.top(1) == [(FOUND.labels[place], FOUND.sequence[place].item())]


def test_figure(tmp_path):
    FOUND.plot().savefig(tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 5000


def test_nothing_is_changed(model):
    tokenizer = tiny.byte_level()
    state, config = copy.deepcopy(model.state_dict()), model.config.to_dict()
    names, held = dict(model.__dict__), repr(tokenizer)
    for method in (af.feature_ablation, af.ig, af.deep_lift):
        explain(method, model, PARTS, ANSWER)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert model.config.to_dict() == config
    assert dict(model.__dict__) == names
    assert repr(tokenizer) == held
    assert not any(p.grad is not None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_method_may_be_left_out():
    model = tiny.gpt2()
    chosen = explain(af.feature_ablation, model, PARTS, ANSWER)
    for found in (
        explain(model, PARTS, ANSWER),
        explain(model, PARTS, target=ANSWER),
        explain(model, segments=PARTS, target=ANSWER),
        explain(None, model, PARTS, ANSWER),
        explain(model=model, segments=PARTS, target=ANSWER),
    ):
        assert found.method == "feature_ablation"
        assert torch.equal(found.values, chosen.values)
    assert explain(model, PARTS, generate={"max_new_tokens": 2}).values.shape == (2, N)
    played = explain(af.text.game(model, PARTS, ANSWER), PARTS)
    assert torch.equal(played.values, chosen.values)


def test_layer_wise_relevance_loses_what_the_rules_leave_out():
    """The first order of softmax has a bias, and layers have; CP-LRP has neither and adds up."""
    for model in (tiny.llama(), tiny.gpt2()):
        options = {"score": af.text.logits, "each_token": False}
        embedded = model.get_input_embeddings()(torch.tensor([[*IDS, *ANSWER[:-1]]])).detach()
        function = lambda e, model=model: model(inputs_embeds=e).logits[:, -3:].gather(
            2, torch.tensor(ANSWER).expand(len(e), -1)[..., None]
        ).sum((1, 2))  # fmt: skip
        _, info = af.lrp(function, embedded, with_info=True)
        found = explain(af.lrp, model, PARTS, ANSWER, **options)
        lost = -sum(float(taken) for taken in info.taken.values())
        assert found.gap.item() == pytest.approx(lost, abs=1e-3)
        assert abs(lost) > 0.01
        assert {name for name, taken in info.taken.items() if abs(taken) > 1e-3} <= {
            "softmax",
            "add",
            "linear",
            "addmm",
        }
        kept = explain(af.lrp, model, PARTS, ANSWER, rules=af.rules.cp_lrp(bias=False), **options)
        assert kept.gap.abs().max() < 1e-3


def test_an_embedding_of_zeros_stands_for_nothing():
    model = copy.deepcopy(tiny.gemma())
    assert not model.get_input_embeddings().weight[0].any()  # of padding
    zero = pytest.warns(UserWarning, match="explain: the embedding that stands for what is absent is zero")
    with zero, pytest.warns(UserWarning, match="explain: the attributions cancel"):
        explain(af.deep_lift, model, PARTS, ANSWER, absent=0)
    tokenizer = copy.deepcopy(tiny.byte_level())
    tokenizer.pad_token, tokenizer.eos_token = "<|endoftext|>", "<|bos|>"
    parts = segments(tokenizer, TEXT, by="token")
    found = explain(af.deep_lift, model, parts, ANSWER)
    assert torch.allclose(found.values, explain(af.deep_lift, model, parts, ANSWER, absent=1).values, atol=1e-6)
    assert found.gap.abs().max() < 1e-3


LLAMA = tiny.llama()
WRONG = {
    "method": (lambda: explain("shap", LLAMA, PARTS, ANSWER), "`method`: .*a method of the library"),
    "segments": (lambda: explain(af.ig, LLAMA, TEXT, ANSWER), "`segments`"),
    "empty": (lambda: explain(af.ig, LLAMA, PARTS, ""), "`target`: got an empty text"),
    "baseline": (lambda: explain(af.ig, LLAMA, PARTS, ANSWER, baseline=0), "`baseline`: .*Use `absent`"),
    "score": (lambda: explain(af.ig, LLAMA, PARTS, ANSWER, score="odds"), "`score`"),
    "absent": (lambda: explain(af.ig, LLAMA, PARTS, ANSWER, absent="delete"), "`absent`: .*a token or an embedding"),
    "place": (lambda: explain(af.ig, LLAMA, PARTS, ANSWER, score=af.text.token(7)), "a token of the 3 of the answer"),
    "class": (lambda: explain(af.text.outputs(LLAMA), PARTS), "`target`: got None; expected the class"),
    "orders": (lambda: explain(af.shapley_interactions, LLAMA, PARTS, ANSWER, order=2), "one value for each segment"),
    "unknown token": (lambda: explain(LLAMA, PARTS, [-1]), "`target`: .*tokens from 0 to 383"),
    "no language": (lambda: explain(torch.nn.Linear(1, 1), PARTS, ANSWER), "`model`: got a Linear, which takes input"),
    "looks ahead": (lambda: explain(tiny.bert_masked(), PARTS, ANSWER), "`model`: .*looks ahead.*af.text.outputs"),
    "no gradient": (lambda: explain(af.ig, af.text.game(LLAMA, PARTS, ANSWER), PARTS), "`method`: .*since a game has"),
    "untold": (lambda: explain(lambda f, x, **o: x, LLAMA, PARTS, ANSWER), "`method`: .*does not tell whether"),
    "absent token": (lambda: explain(af.ig, LLAMA, PARTS, ANSWER, absent=999), "`absent`: got the token 999"),
    "absent row": (lambda: explain(af.ig, LLAMA, PARTS, ANSWER, absent=torch.ones(5)), "`absent`: .*of 5 numbers"),
    "among": (lambda: explain(LLAMA, PARTS, ANSWER, among=True, each_token=False), "`among`: got True"),
    "no generation": (lambda: explain(af.ig, torch.nn.Linear(1, 1), PARTS), "cannot generate"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_errors(call, message):
    with pytest.raises(af.ArgumentError, match=message):
        call()


def test_transformers_is_not_imported_by_the_library():
    import subprocess
    import sys

    code = "import sys, attrfunc; assert not {'transformers', 'matplotlib', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
