"""Prompts are cut along tokens, and put together again."""

import re

import pytest
import torch

import attrfunc as af
import language_models as tiny
from attrfunc.text import segments

TEXT = "The capital of  France is Rome.\nWhat's 🙂 there?"
TOKENIZERS = {
    "bytes": tiny.byte_level(),
    "bytes with bos": tiny.byte_level(bos=True),
    "sentence piece": tiny.sentence_piece(),
    "word piece": tiny.word_piece(),
}


@pytest.fixture(params=TOKENIZERS.values(), ids=TOKENIZERS)
def tokenizer(request):
    return request.param


@pytest.mark.parametrize("by", ["token", "word", "sentence", "paragraph", r"[A-Z]\w+"])
def test_every_token_has_one_owner_and_labels_are_what_stands_there(tokenizer, by):
    parts = segments(tokenizer, TEXT, by=by)
    assert parts.ids == tuple(tokenizer(TEXT)["input_ids"]) == parts.present(torch.ones(len(parts)))
    assert sorted(set(parts.owners) - {-1}) == list(range(len(parts)))
    assert [owner for owner in parts.owners if owner >= 0] == sorted(owner for owner in parts.owners if owner >= 0)
    assert parts.labels == tuple(parts.text[a:b] for a, b in parts.spans)
    assert -1 in parts.owners[-1:]
    for place, token in enumerate(parts.ids):
        if token in set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}:
            assert parts.owners[place] == -1


def test_words_are_whole():
    assert segments(tiny.byte_level(), TEXT, by="word").labels == (
        "The", "capital", "of", "France", "is", "Rome", ".", "What's", "🙂", "there",
    )  # fmt: skip
    assert segments(tiny.byte_level(), TEXT, by="sentence").labels[0] == "The capital of  France is Rome."
    lengths = {name: len(segments(tiny.byte_level(), TEXT, by=name)) for name in ("token", "word", "sentence")}
    assert lengths["token"] > lengths["word"] > lengths["sentence"] == 2


def test_deleting_text_deletes_the_tokens(tokenizer):
    parts = segments(tokenizer, TEXT, by="word")
    for number in range(len(parts)):
        mask = torch.arange(len(parts)) != number
        if number not in parts.merges():
            assert parts.encode(parts.render(mask)) == parts.present(mask)
        assert len(parts.render(mask)) < len(TEXT)
    assert parts.render(parts.full[0]) == TEXT


def test_merges_are_reported():
    tokenizer = tiny.byte_level()
    parts = segments(tokenizer, "The caxpital of it", by=r"x|of")
    assert parts.labels == ("x", "of")
    assert parts.render([0, 1]) == "The capital of it"
    assert parts.present([0, 1]) != tuple(tokenizer("The capital of it")["input_ids"])  # which are fewer
    assert parts.merges() == (0,)


def test_the_tree_is_a_nesting():
    parts = segments(tiny.byte_level(), "The sky is. What's it? Not me", by="token")
    game = lambda x: x.double().sum(1)
    assert torch.allclose(af.owen_values(game, parts.full, nesting=parts.tree), torch.ones(1, len(parts)).double())
    assert parts.members("token") == [[n] for n in range(len(parts))]
    joined = ["".join(parts.labels[n] for n in unit).strip() for unit in parts.members("word")]
    assert joined == ["The", "sky", "is", ".", "What's", "it", "?", "Not"]
    assert len(parts.members("sentence")) == 3
    with pytest.raises(af.ArgumentError, match=r"`level`: got str 'line'; expected one of 'token', 'word'"):
        parts.members("line")


def test_messages_are_rendered_by_the_template_and_its_marks_are_fixed():
    messages = [{"role": "system", "content": "user"}, {"role": "user", "content": " The sky is blue. Why? "}]
    parts = segments(tiny.byte_level(), messages, by="sentence")
    assert parts.labels == ("user", "The sky is blue.", "Why?")  # of which the first is no mark of the template
    expected = tiny.byte_level().apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert parts.ids == tuple(expected)
    without = [messages[0], {"role": "user", "content": "The sky is blue."}]
    assert parts.render([1, 1, 0]) == tiny.byte_level().apply_chat_template(
        without, tokenize=False, add_generation_prompt=True
    )
    assert messages[1]["content"] == " The sky is blue. Why? "


@pytest.mark.parametrize("values", [{"who": "Ann", "0": "the blue sky"}, None])
def test_templates(values):
    source = ("{who} loves {0} a lot.", values) if values else ("{} loves {} a lot.", ["Ann", "the blue sky"])
    parts = segments(tiny.byte_level(), source)
    assert parts.labels == ("Ann", "the blue sky")
    assert parts.render([1, 0]) == "Ann loves  a lot."  # the space is the template's
    assert parts.render([0, 1], ["Bob", "x"]) == "Bob loves the blue sky a lot."
    assert segments(tiny.byte_level(), source, by="word").labels == ("Ann", "the", "blue", "sky")


def test_what_is_fixed():
    tokenizer = tiny.byte_level(bos=True)
    text = "The sky is blue"
    assert segments(tokenizer, text, fixed=None, by="word").labels == ("The", "sky", "is", "blue")
    assert segments(tokenizer, text, by="word").labels == ("The", "sky", "is")
    assert segments(tokenizer, text, by="word", fixed=[(4, 7)]).labels == ("The", "is")
    assert segments(tokenizer, text, by="sentence").labels == ("The sky is blu",) or segments(
        tokenizer, text, by="sentence"
    ).labels == ("The sky is",)


class Slow:
    is_fast = False


TINY = tiny.byte_level()
WRONG = {
    "empty": (TINY, "", {}, "got the text ''; expected a prompt that says something"),
    "white": (TINY, " \n", {}, "expected a prompt that says something"),
    "number": (TINY, 3, {}, "expected a text, a list of messages, or a template"),
    "cut": (TINY, "The capital of it", {"by": [(4, 6)]}, r"which cuts the token 'c?apital' at .* begin or end at"),
    "nothing": (TINY, "The", {}, "all of which are held fixed.*Pass fixed=None"),
    "outside": (TINY, "The sky", {"by": [(0, 99)]}, "spans .start, end. of characters, with 0 <= start < end <= 7"),
    "overlap": (TINY, "The sky is", {"by": [(0, 7), (4, 10)]}, "spans that do not overlap"),
    "pattern": (TINY, "The sky", {"by": "("}, "which is no pattern"),
    "fixed": (TINY, "The sky", {"fixed": "last"}, '`fixed`: got .*"special", None, or spans'),
    "slow": (Slow(), "The sky", {}, "which tells no offsets of tokens"),
    "by a number": (TINY, "The sky", {"by": 3}, "`by`: got int 3"),
    "no spans": (TINY, "The sky", {"by": []}, "all of which are held fixed"),
    "field": (TINY, ("{a} and {b}", {"a": "x"}), {}, r"one value for each of the fields \['a', 'b'\]"),
    "brace": (TINY, ("{a and", ["x"]), {}, "fields in braces"),
    "format": (TINY, ("{:>3}", ["x"]), {}, "a field .* with a format"),
    "value": (TINY, ("{}", [3]), {}, "texts as values"),
    "no chat": (tiny.word_piece(), [{"role": "user", "content": "Hi"}], {}, "a tokenizer without a chat template"),
    "content": (TINY, [{"role": "user", "content": [{"image": 1}]}], {}, "texts as contents"),
}  # fmt: skip


@pytest.mark.parametrize(("tokenizer", "source", "options", "message"), WRONG.values(), ids=WRONG)
def test_errors(tokenizer, source, options, message):
    with pytest.raises(af.ArgumentError, match=f"(?s)^segments: .*{message}"):
        segments(tokenizer, source, **options)


def test_masks_must_fit():
    parts = segments(TINY, "The sky is blue")
    for mask in ([1], [2] * len(parts), torch.ones(len(parts) + 1)):
        with pytest.raises(af.ArgumentError, match=f"expected {len(parts)} booleans"):
            parts.present(mask)


def test_html_and_patterns_stay_text():
    text = "<b>sky</b> & {x} $1 is"
    parts = segments(TINY, text, by=re.compile(r"\S+"))
    assert parts.render(parts.full[0]) == text
    assert parts.labels[:2] == ("<b>sky</b>", "&")


def test_texts_in_place_of_values_leave_the_spaces_of_the_template(tokenizer):
    template, values = "Dave lives in {city}, {state} .", {"city": "Palm  Coast", "state": "Florida"}
    parts = segments(tokenizer, (template, values))
    for texts in (["", ""], ["Rome", " "]):
        for mask in ([False, True], [True, False], [False, False]):
            chosen = {
                name: values[name] if here else text for name, here, text in zip(values, mask, texts, strict=True)
            }
            assert parts.render(mask, texts) == template.format(**chosen)
