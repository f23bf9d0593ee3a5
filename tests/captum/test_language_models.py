"""The classes for language models: Captum's signatures and numbers, on a small model."""

import contextlib
import inspect
import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import captum.attr as captum_attr
import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr
from language_models import byte_level, llama

matplotlib.use("Agg")
TOKENIZER = byte_level()
MODULES = (shim_attr, captum_attr)
CLASSES = {
    "LLMAttribution": ["__init__", "attribute"],
    "LLMGradientAttribution": ["__init__", "attribute"],
    "RemoteLLMAttribution": ["__init__", "attribute"],
    "RemoteLLMProvider": ["generate", "get_logprobs"],
    "VLLMProvider": ["__init__", "generate", "get_logprobs"],
    "LLMAttributionResult": ["__init__", "plot_token_attr", "plot_seq_attr", "plot_image_heatmap"],
    "InterpretableInput": ["to_tensor", "to_model_input", "format_attr"],
    "TextTemplateInput": ["__init__", "to_tensor", "to_model_input", "format_attr"],
    "TextTokenInput": ["__init__", "to_tensor", "to_model_input", "format_attr"],
    "ImageMaskInput": ["__init__", "to_tensor", "to_model_input", "get_mask_list", "format_pixel_attr"],
}  # fmt: skip


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, None if inspect.isfunction(p.default) else p.default) for p in found]


@pytest.mark.parametrize("name", CLASSES)
def test_signatures(name):
    ours, theirs = (
        {method: parameters(getattr(getattr(module, name), method)) for method in CLASSES[name]} for module in MODULES
    )
    assert ours == theirs


def inputs(module):
    return {
        "template": module.TextTemplateInput("{} lives in {}, {} and", ["Ann", "Rome", "Italy"], ["Who", "Paris", ""]),
        "groups": module.TextTemplateInput(
            "{name} lives in {city}, {land} and",
            {"name": "Ann", "city": "Rome", "land": "Italy"},
            mask={"name": 0, "city": 1, "land": 1},
        ),
        "function": module.TextTemplateInput(lambda a, b: f"{a} sat on {b}", ["The cat", "the mat"]),
        "tokens": module.TextTokenInput("The cat sat on", TOKENIZER),
        "skipped": module.TextTokenInput("The cat sat on", TOKENIZER, baselines="!", skip_tokens=["The"]),
    }  # fmt: skip


@pytest.mark.parametrize("name", inputs(shim_attr))
def test_inputs(name):
    ours, theirs = (inputs(module)[name] for module in MODULES)
    assert ours.n_itp_features == theirs.n_itp_features
    assert ours.values == theirs.values
    assert torch.equal(ours.to_tensor(), theirs.to_tensor())
    for numbers in (None, *torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * ours.n_itp_features)):
        row = None if numbers is None else numbers[None]
        one, other = ours.to_model_input(row), theirs.to_model_input(row)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    values = torch.arange(2.0 * ours.n_itp_features).view(2, -1)
    assert torch.equal(ours.format_attr(values), theirs.format_attr(values))


METHODS = {
    "FeatureAblation": {},
    "ShapleyValues": {},
    "Lime": {"n_samples": 200},
    "KernelShap": {"n_samples": 200},
}


def attributed(module, method, name, target=" Rome. The", options=None, **more):
    kind = getattr(module, method)
    explainer = module.LLMAttribution(kind(llama()), TOKENIZER, **(options or {}))
    # Captum's default is wrong with this version of transformers.
    given = {"use_cached_outputs": False} if module is captum_attr else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return explainer.attribute(inputs(module)[name], target, **given, **more)


@pytest.mark.parametrize("target", ["log_prob", "prob"])
@pytest.mark.parametrize("name", inputs(shim_attr))
@pytest.mark.parametrize("method", ["FeatureAblation", "ShapleyValues"])
def test_numbers(method, name, target):
    ours, theirs = (attributed(module, method, name, options={"attr_target": target}) for module in MODULES)
    assert torch.allclose(ours.seq_attr, theirs.seq_attr, atol=1e-5)
    assert torch.allclose(ours.token_attr, theirs.token_attr, atol=1e-5)
    assert ours.input_tokens == theirs.input_tokens
    assert [token.strip() for token in ours.output_tokens] == theirs.output_tokens


def test_random_methods():
    exact = attributed(shim_attr, "ShapleyValues", "template")
    sampled = attributed(shim_attr, "ShapleyValueSampling", "template", n_samples=50)
    assert torch.allclose(sampled.token_attr, exact.token_attr, atol=0.1)
    trials = attributed(shim_attr, "ShapleyValueSampling", "template", n_samples=3, num_trials=20)
    assert torch.allclose(trials.seq_attr, exact.seq_attr, atol=0.3)
    for method in ("KernelShap", "Lime"):
        found = attributed(shim_attr, method, "template", n_samples=300)
        assert found.token_attr is None
        assert found.seq_attr.shape == (3,)
    assert torch.allclose(
        attributed(shim_attr, "KernelShap", "template", n_samples=300).seq_attr, exact.seq_attr, atol=1e-3
    )


@pytest.mark.parametrize("name", ["tokens", "skipped"])
@pytest.mark.parametrize("method", ["LayerIntegratedGradients", "LayerGradientXActivation"])
def test_gradients(method, name):
    found = []
    for module in MODULES:
        model = llama()
        explainer = getattr(module, method)(model, model.model.embed_tokens)
        options = {"n_steps": 8} if "Integrated" in method else {}
        explained = module.LLMGradientAttribution(explainer, TOKENIZER)
        model.requires_grad_(module is captum_attr)
        try:
            found.append(explained.attribute(inputs(module)[name], " Rome. The", **options))
        finally:
            model.requires_grad_(False)
    ours, theirs = found
    assert ours.token_attr.shape == theirs.token_attr.shape
    assert torch.allclose(ours.token_attr, theirs.token_attr.float(), atol=1e-5 * theirs.token_attr.abs().max().item())
    assert torch.allclose(ours.seq_attr, theirs.seq_attr, atol=1e-5 * theirs.seq_attr.abs().max().item())


def test_gradient_shap_runs():
    model = llama()
    explainer = shim_attr.LayerGradientShap(model, model.model.embed_tokens)
    inp = inputs(shim_attr)["tokens"]
    found = shim_attr.LLMGradientAttribution(explainer, TOKENIZER).attribute(
        inp, " Rome", baselines=torch.zeros(1, inp.n_itp_features).long()
    )
    assert found.token_attr.shape == (1, inp.n_itp_features)


class LooksAhead(nn.Module):
    """As Captum's stand-in: neither causal, nor does it honour masks."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(384, 384)
        self.device = torch.device("cpu")

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        mixed = self.table(input_ids).mean(1, keepdim=True)
        return SimpleNamespace(logits=mixed.expand(-1, input_ids.shape[1], -1) + self.table(input_ids))


@pytest.mark.filterwarnings("ignore:.*says something else of a:UserWarning")  # which is told
def test_models_that_look_ahead_are_run_token_by_token():
    torch.manual_seed(0)
    model = LooksAhead()
    ours, theirs = (
        module.LLMAttribution(module.FeatureAblation(model), TOKENIZER).attribute(
            inputs(module)["template"], " Rome. The", **({} if module is shim_attr else {"use_cached_outputs": False})
        )
        for module in MODULES
    )
    assert torch.allclose(ours.token_attr, theirs.token_attr, atol=1e-5)


def test_what_is_random_in_a_baseline_is_drawn_once():
    drawn = []

    def baselines():
        drawn.append(len(drawn))
        return [["Ann", "Bob", "Eve"][len(drawn) % 3], "Paris"]

    inp = shim_attr.TextTemplateInput("{} lives in {} and", ["Tom", "Rome"], baselines)
    shim_attr.LLMAttribution(shim_attr.ShapleyValues(llama()), TOKENIZER).attribute(inp, " the cat")
    assert len(drawn) == 1


def test_targets_and_inspection():
    seen = []
    explainer = shim_attr.LLMAttribution(shim_attr.FeatureAblation(llama()), TOKENIZER)
    inp = inputs(shim_attr)["template"]
    text = explainer.attribute(inp, " Rome", _inspect_forward=lambda *given: seen.append(given))
    tokens = explainer.attribute(inp, torch.tensor(TOKENIZER.encode(" Rome")))
    assert torch.equal(text.seq_attr, tokens.seq_attr)
    assert len(seen) == 4
    assert seen[0][0] == "Ann lives in Rome, Italy and"
    assert seen[0][1] == " Rome"
    made = explainer.attribute(inp, gen_args={"max_new_tokens": 3, "do_sample": False})
    assert len(made.output_tokens) == 3
    for arguments, message in (
        ((inp, ""), "`target`: .*at least one"),
        ((inp, 3), "`target`"),
        ((inp, " Rome", 1, {}), "`gen_args`: .*None, since the target is given"),
        (("text", " Rome"), "`inp`: .*TextTemplateInput"),
    ):
        with pytest.raises(af.ArgumentError, match=f"LLMAttribution.attribute: .*{message}"):
            explainer.attribute(*arguments)
    with pytest.raises(af.ArgumentError, match=r"`attr_method`: .*FeatureAblation"):
        shim_attr.LLMAttribution(shim_attr.Saliency(llama()), TOKENIZER)
    with pytest.raises(af.ArgumentError, match="`attr_target`"):
        shim_attr.LLMAttribution(shim_attr.FeatureAblation(llama()), TOKENIZER, "logit")


def test_results():
    values = {"input_tokens": ["a", "b", "a"], "output_tokens": ["x", "$y"], "seq_attr": [1.0, 2.0, 3.0]}
    found = shim_attr.LLMAttributionResult(**values, token_attr=[[1, 2, 3], [0, 0, 0]], output_probs=[0.5, 0.5])
    assert found.seq_attr_dict == {"a": 1.0, "b": 2.0, "a (2)": 3.0}
    for figure, _ in (found.plot_token_attr(), found.plot_seq_attr()):
        figure.canvas.draw()
        matplotlib.pyplot.close(figure)
    with pytest.raises(af.ArgumentError, match="`seq_attr`"):
        shim_attr.LLMAttributionResult(**{**values, "seq_attr": [1.0]})
    with pytest.raises(af.ArgumentError, match="plot_seq_attr"):
        shim_attr.LLMAttributionResult(**values).plot_token_attr()
    with pytest.raises(af.ArgumentError, match="ImageMaskInput"):
        found.plot_image_heatmap()


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype="uint8"))


def masks(kind):
    if kind == "mask":
        return {"mask": (torch.arange(12) // 4 * 2).expand(8, 12)}
    one = torch.zeros(8, 12)
    one[2:6, 2:8] = 1
    return {"mask_list": [one, one.flip(1)]} if kind == "list" else {}


@pytest.mark.parametrize("kind", ["mask", "list", "whole"])
def test_images(image, kind):
    ours, theirs = (module.ImageMaskInput(image, **masks(kind), baseline=(9, 8, 7)) for module in MODULES)
    n = ours.n_itp_features
    assert (n, ours.values) == (theirs.n_itp_features, theirs.values)
    for row in torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * n).view(-1, n):
        assert np.array_equal(np.array(ours.to_model_input(row[None])), np.array(theirs.to_model_input(row[None])))
    values = torch.randn(2, n)
    assert torch.allclose(ours.format_pixel_attr(values), theirs.format_pixel_attr(values))
    figure, _ = ours.plot_mask_overlay(border_width=1)
    figure.canvas.draw()
    result = shim_attr.LLMAttributionResult(
        input_tokens=ours.values, output_tokens=["x"], seq_attr=values[0], token_attr=values[:1], inp=ours
    )
    for place in (None, 0, (0, 1)):
        heat, _ = result.plot_image_heatmap(target_token_pos=place)
        heat.canvas.draw()
        matplotlib.pyplot.close(heat)
    matplotlib.pyplot.close(figure)
    with pytest.raises(af.ArgumentError, match="height and width"):
        shim_attr.ImageMaskInput(image, mask=torch.zeros(3, 3))


class Sees(nn.Module):
    """A model of pictures and text: what it says depends on the mean colour."""

    def __init__(self):
        super().__init__()
        self.inner = llama()
        self.device = torch.device("cpu")

    def forward(self, input_ids, pixel_values, attention_mask=None, use_cache=None):
        embedded = self.inner.model.embed_tokens(input_ids) + pixel_values.mean((1, 2, 3))[:, None, None]
        return self.inner(inputs_embeds=embedded, attention_mask=attention_mask)


def test_pictures_and_text(image):
    def processor(picture):
        pixels = torch.tensor(np.array(picture)).float()[None] / 255
        return {"input_ids": torch.tensor([[5, 40, 17]]), "pixel_values": pixels}

    ours, theirs = (
        module.LLMAttribution(module.FeatureAblation(Sees().eval()), TOKENIZER).attribute(
            module.ImageMaskInput(image, **masks("mask"), processor_fn=processor),
            torch.tensor([21, 8]),
            **({} if module is shim_attr else {"use_cached_outputs": False, "forward_in_tokens": False}),
        )
        for module in MODULES
    )
    assert ours.seq_attr.abs().max() > 1e-3
    assert torch.allclose(ours.token_attr, theirs.token_attr, atol=1e-5)


class Provider(shim_attr.RemoteLLMProvider):
    api_url = "here"

    def generate(self, prompt, **gen_args):
        return " Rome. The"

    def get_logprobs(self, input_prompt, target_str, tokenizer=None):
        prompt, answer = (TOKENIZER.encode(text) for text in (input_prompt, target_str))
        return af.text.continuation(llama(), answer)([prompt])[0].tolist()


@pytest.mark.parametrize("target", [" Rome. The", None])
def test_remote(target):
    kind = shim_attr.RemoteLLMAttribution
    explainer = kind(shim_attr.ShapleyValues(kind.placeholder_model), TOKENIZER, Provider())
    found = explainer.attribute(inputs(shim_attr)["template"], target)
    local = attributed(shim_attr, "ShapleyValues", "template")
    assert torch.allclose(found.token_attr, local.token_attr, atol=1e-5)

    class Short(Provider):
        def get_logprobs(self, *args, **kwargs):
            return [0.0]

    with pytest.raises(af.ModelError, match="gave 1 log-probabilities for the 3 tokens"):
        kind(shim_attr.FeatureAblation(kind.placeholder_model), TOKENIZER, Short()).attribute(
            inputs(shim_attr)["tokens"], target
        )


class Vllm(BaseHTTPRequestHandler):
    bare = False

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.send({"data": [{"id": "tiny"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        choice = {"text": " Rome."}
        if "prompt_logprobs" in asked:
            ids = torch.tensor([TOKENIZER.encode(asked["prompt"])])
            logs = llama()(ids).logits[0].log_softmax(-1)
            told = [None]
            for place, token in enumerate(ids[0, 1:].tolist()):
                entry = {"logprob": logs[place, token].item()}
                told.append({str(token): entry if Vllm.bare else {**entry, "decoded_token": TOKENIZER.decode([token])}})
            choice["prompt_logprobs"] = None if asked["prompt"].startswith("nothing") else told
        self.send({"choices": [choice]})

    def send(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def test_vllm(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vllm)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        provider = shim_attr.VLLMProvider(f"http://127.0.0.1:{server.server_port}/v1")
        assert provider.model_name == "tiny"
        assert provider.generate("x", max_new_tokens=3, do_sample=False) == " Rome."
        expected = Provider().get_logprobs("The cat sat on", " the mat")
        for bare in (False, True):
            monkeypatch.setattr(Vllm, "bare", bare)
            assert provider.get_logprobs("The cat sat on", " the mat", TOKENIZER) == pytest.approx(expected, abs=1e-4)
        with pytest.raises(af.ArgumentError, match="`tokenizer`"):
            provider.get_logprobs("The cat", " sat")
        monkeypatch.setattr(Vllm, "bare", False)
        with pytest.raises(af.ModelError, match="one token with the end of the prompt"):
            provider.get_logprobs("The cat sat on ", "the mat", TOKENIZER)
        with pytest.raises(af.ModelError, match="no log-probabilities of the prompt"):
            provider.get_logprobs("nothing", " the mat", TOKENIZER)
        with pytest.raises(af.ArgumentError, match="`target_str`"):
            provider.get_logprobs("x", "", TOKENIZER)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(af.ArgumentError, match="`api_url`"):
        shim_attr.VLLMProvider(" ")


def test_a_server_that_does_not_answer():
    with pytest.raises(ConnectionError, match=r"VLLMProvider: the server at http://127.0.0.1:9/v1 does not answer"):
        shim_attr.VLLMProvider("http://127.0.0.1:9/v1")
    with pytest.raises(ConnectionError, match="See that it runs"):
        shim_attr.VLLMProvider("http://127.0.0.1:9/v1", "tiny").generate("x")


class LettersOnly:
    """A tokenizer that decodes tensors, and no lists: all that Captum asks of one."""

    def encode(self, text, add_special_tokens=True, return_tensors=None):
        ids = [ord(letter) for letter in text]
        return torch.tensor([ids]) if return_tensors else ids

    def convert_ids_to_tokens(self, ids):
        return chr(ids) if isinstance(ids, int) else [chr(one) for one in ids]

    def decode(self, ids):
        return "".join(chr(one) for one in ids.reshape(-1).tolist())


class Dropping(nn.Module):
    """A causal model with dropout: the mean of what was, and a layer."""

    def __init__(self):
        super().__init__()
        self.embedding, self.drop, self.head = nn.Embedding(128, 6), nn.Dropout(0.3), nn.Linear(6, 128)

    def forward(self, input_ids, **kwargs):
        vectors = self.embedding(input_ids)
        mean = vectors.cumsum(1) / torch.arange(1, vectors.shape[1] + 1)[:, None]
        return SimpleNamespace(logits=self.head(self.drop(mean)))


@pytest.mark.parametrize("kind", ["LayerIntegratedGradients", "LayerGradientXActivation"])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_a_model_with_dropout(kind, training):
    torch.manual_seed(0)
    model, tokenizer = Dropping().train(training), LettersOnly()
    method = getattr(shim_attr, kind)(model, model.embedding)
    explainer = shim_attr.LLMGradientAttribution(method, tokenizer)
    results = []
    with pytest.warns(UserWarning, match="the model is in training mode") if training else contextlib.nullcontext():
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            results.append(explainer.attribute(shim_attr.TextTokenInput("abc", tokenizer), "xy"))
    assert results[0].output_tokens == ["x", "y"]
    assert results[0].token_attr.shape == (2, 3)
    assert bool((results[0].token_attr != 0).all())
    torch.testing.assert_close(results[0].token_attr, results[1].token_attr)
    assert torch.allclose(results[0].token_attr, results[2].token_attr) != training
    assert model.training is training


def test_decoding_of_tensors_alone():
    torch.manual_seed(0)
    model, tokenizer, seen = Dropping().eval(), LettersOnly(), []
    explainer = shim_attr.LLMAttribution(shim_attr.FeatureAblation(model), tokenizer)
    prompt = shim_attr.TextTemplateInput("{}{}", ["a", "b"])
    result = explainer.attribute(prompt, "xy", _inspect_forward=lambda *told: seen.append(told[:2]))
    assert result.output_tokens == ["x", "y"]
    assert {("ab", "xy"), ("b", "xy"), ("a", "xy")} == set(seen)
