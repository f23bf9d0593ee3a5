"""What is tried before it is relied on: padding, batches, masks, and that a model does not look ahead."""

import warnings

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import BertConfig, BertLMHeadModel, BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast

import attrfunc as af

ANSWER = [4, 7, 9]


class Recurrent(nn.Module):
    """Knows neither masks nor positions."""

    def __init__(self):
        super().__init__()
        self.read, self.run, self.tell = nn.Embedding(40, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 40)

    def forward(self, input_ids):
        return self.tell(self.run(self.read(input_ids))[0])


class Scaled(nn.Module):
    """Looks at the batch as a whole, as quantising on the way does."""

    def __init__(self):
        super().__init__()
        self.inner = Recurrent()

    def forward(self, input_ids):
        logits = self.inner(input_ids)
        return logits / logits.abs().max()


class Anything(nn.Module):
    """Hands on what it does not name."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def bloom():
    return BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=8, n_layer=1, n_head=2))


def bert(is_decoder):
    shape = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return BertLMHeadModel(BertConfig(**shape, intermediate_size=8, is_decoder=is_decoder))


def made(build):
    """A model in double precision whose weights matter."""
    torch.manual_seed(0)
    model = build().double().eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.5)
    return model


@pytest.fixture(scope="module")
def parts():
    words = {word: number for number, word in enumerate(["?", "a", "bc", "d", "ef", "g", ".", *map(str, range(33))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?", pad_token="?", eos_token="?")
    return af.text.segments(fast, "a bc d . ef g . d bc", by="sentence")


def by_hand(model, parts, mask):
    """One pass for each token of the answer, of the tokens that are present and nothing else."""
    kept, found = list(parts.present(mask)), []
    for count, token in enumerate(ANSWER):
        with torch.no_grad():
            output = model(input_ids=torch.tensor([kept + ANSWER[:count]]))
        logits = output if isinstance(output, torch.Tensor) else output.logits
        found.append(logits[0, -1].log_softmax(-1)[token])
    return torch.stack(found)


@pytest.mark.parametrize("build", [Recurrent, bloom, lambda: Anything(bert(is_decoder=True))])
def test_models_that_lose_their_padding_are_read_right(parts, build):
    model = made(build)
    says, every = af.text.game(model, parts, ANSWER, share=False), torch.cartesian_prod(*[torch.tensor([0, 1])] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        says(says.full)  # the first prompt stands alone, and tells nothing of batches
        found = says(every)
    torch.testing.assert_close(found, torch.stack([by_hand(model, parts, row) for row in every.bool().tolist()]))


def test_models_that_look_at_the_batch_are_read_one_by_one(parts):
    model = made(Scaled)
    says, masks = af.text.game(model, parts, [4]), torch.eye(3).bool()
    with pytest.warns(UserWarning, match="says something else of a prompt in a batch than by itself"):
        found = says(masks)
    expected = torch.stack([by_hand(model, parts, mask)[:1] for mask in masks.tolist()])
    torch.testing.assert_close(found, expected)


def test_models_that_look_ahead_are_told(parts):
    model = made(lambda: bert(is_decoder=False))
    with pytest.warns(UserWarning, match="a token where others stand behind it"):
        found = af.text.game(model, parts, ANSWER)(parts.full)
    torch.testing.assert_close(found[0], by_hand(model, parts, [True] * 3))
    with pytest.raises(af.ModelError, match="looks ahead: what it says of a token changes"):
        af.text.explain(af.input_x_gradient, model, parts, ANSWER)
    assert af.text.explain(af.input_x_gradient, model, parts, [4]).values.isfinite().all()


def test_masks_that_nobody_heeds_are_refused(parts):
    says = af.text.game(made(Recurrent), parts, ANSWER, absent="mask")
    with pytest.raises(af.ModelError, match=r'does not heed attention masks.*Take absent="delete"'):
        says(torch.tensor([[True, False, True]]))


def test_gradients_of_models_that_torch_cannot_map(parts):
    """Bloom's activation is an autograd.Function of the old kind: each token is differentiated by itself."""
    model = made(bloom)
    found = af.text.explain(af.input_x_gradient, model, parts, ANSWER)
    table, ids = model.get_input_embeddings(), torch.tensor([[*parts.ids, *ANSWER[:-1]]])
    point = table(ids).detach().requires_grad_()
    logits = model(inputs_embeds=point).logits[0, -3:].log_softmax(-1)
    owners = torch.tensor(parts.owners)
    for row, token in enumerate(ANSWER):
        (slope,) = torch.autograd.grad(logits[row, token], point, retain_graph=True)
        each = (slope * point).sum(-1)[0, : len(owners)].detach()
        expected = torch.stack([each[owners == place].sum() for place in range(len(parts))])
        torch.testing.assert_close(found.values[row], expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में लिखा", ("हिन्दी", "में", "लिखा")),
        ("ภาษานี้", ("ภาษานี้",)),
        ("e\u0301te\u0301 می\u200cخواهم", ("e\u0301te\u0301", "می\u200cخواهم")),
        ("👍🏽 👩\u200d👩\u200d👧!", ("👍🏽", "👩\u200d👩\u200d👧", "!")),
    ],
)
def test_marks_belong_to_their_words(text, words):
    assert tuple(text[a:b] for a, b in af.text.cutting.units(text, "word")) == words


def test_errors_are_the_librarys_own(parts):
    with pytest.raises(af.ArgumentError, match="argument `absent`: got tokens from 99 to 99"):
        af.text.game(made(bloom), parts, ANSWER, absent=99)
    with pytest.raises(af.ArgumentError, match=r"half of a pair of surrogates.*encode\(\"utf-8\", \"ignore\"\)"):
        af.text.segments(parts.tokenizer, "a \ud83d bc")


def test_answers_are_greedy_and_end_where_the_model_does(parts):
    model = made(lambda: bert(is_decoder=True))
    plain = af.text.generate(model, parts, max_new_tokens=4)
    model.generation_config.num_beams = model.generation_config.num_return_sequences = 2
    assert af.text.generate(model, parts, max_new_tokens=4) == plain
    assert af.text.generate(model, parts, max_new_tokens=4, return_dict_in_generate=True) == plain
    model.config.max_position_embeddings = len(parts.ids) + 3
    model.bert.embeddings.position_embeddings = nn.Embedding(len(parts.ids) + 3, 8).double()
    assert len(af.text.generate(model, parts)) <= 3
    with pytest.raises(af.ArgumentError, match=r"leaves room for 3.*smaller max_new_tokens"):
        af.text.generate(model, parts, max_new_tokens=9)
