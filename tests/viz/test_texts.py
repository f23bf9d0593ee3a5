"""Coloured texts: what tokenizers' marks mean, how lines break, and that no text commands a browser or a terminal."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attrfunc as af
from attrfunc.viz.pieces import width

WRITTEN = {
    "GPT-2": (["The", "Ġfilm", "Ġwas", "Ġun", "believ", "able", "!"], "The film was unbelievable!"),
    "RoBERTa": (["<s>", "The", "Ġfilm", "</s>"], "<s>The film</s>"),
    "SentencePiece": (["▁The", "▁film", "▁was", "▁un", "bel", "iev", "able"], "The film was unbelievable"),
    "BERT": (["[CLS]", "the", "film", "un", "##believ", "##able", "[SEP]"], "[CLS] the film unbelievable [SEP]"),
    "decoded": (["The", " film", " un", "believable", "."], "The film unbelievable."),
    "words": (["The", "film"], "The film"),
    "marks of BERT in a text": (["#", "##", "a"], "# ## a"),
}
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Page(HTMLParser):
    """The text of a page, its tags, and what stands at them."""

    def __init__(self, source):
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def uncoloured(text):
    return ESCAPE.sub("", text)


@pytest.mark.parametrize("kind", WRITTEN)
def test_marks_are_read(kind):
    tokens, expected = WRITTEN[kind]
    for words in (False, True):
        text = af.viz.tokens(tokens, torch.randn(len(tokens)), legend=False, words=words)
        assert uncoloured(text.terminal(80)) == expected
        assert Page(text._repr_html_()).text == expected


@pytest.mark.parametrize(
    ("tokens", "joined"),
    [
        (WRITTEN["GPT-2"][0], [("The", 1), ("film", 2), ("was", 4), ("unbelievable!", 8 + 16 + 32 + 64)]),
        (WRITTEN["RoBERTa"][0], [("<s>", 1), ("The", 2), ("film", 4), ("</s>", 8)]),
        (WRITTEN["BERT"][0], [("[CLS]", 1), ("the", 2), ("film", 4), ("unbelievable", 8 + 16 + 32), ("[SEP]", 64)]),
        (["a", "b", " c", "\n", "d"], [("ab", 3), ("c\n", 4 + 8), ("d", 16)]),
    ],
)
def test_values_of_words_are_sums(tokens, joined):
    (row,) = af.viz.tokens(tokens, 2.0 ** torch.arange(len(tokens)), words=True).passages[0].rows
    found = [(piece.text, value) for piece, value in zip(row.pieces, row.values.tolist(), strict=True)]
    assert found == [(text, float(value)) for text, value in joined]


NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt;",
    "' onmouseover='alert(1)",
    "</style><style>",
    "\x1b[2J\x1b]0;title\x07",
    "\u202eevil\u2066",
    "\x9b31m",
    "a\x00b\x7f",
]


class TestSafety:
    @pytest.mark.parametrize("bad", NASTY)
    def test_text_stays_text_on_a_page(self, bad, tmp_path):
        text = af.viz.tokens([bad, " b"], {bad: [1.0, 2.0]}, title=bad, unit=bad)
        page = Page(text.save(tmp_path / "page.html").read_text())
        assert set(page.tags) <= {"html", "head", "meta", "title", "style", "body", "div", "p", "b", "span", "i"}
        assert {name for name, _ in page.attributes} <= {"lang", "charset", "name", "content", "style", "title", "dir"}
        shown = re.sub(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", "�", bad)
        assert page.text.count(shown) >= 3

    @pytest.mark.parametrize("bad", NASTY)
    def test_text_does_not_command_a_terminal(self, bad):
        text = af.viz.tokens([bad, " b"], {bad: [1.0, 2.0]}, title=bad)
        for shown in (uncoloured(text.terminal(80)), text.plain(), repr(text)):
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)

    @pytest.mark.parametrize("bad", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
    def test_titles_of_figures(self, bad):
        page = Page(af.viz.bars([1.0], title=bad)._repr_html_())
        assert page.tags == ["img"]
        assert {name for name, _ in page.attributes} == {"style", "alt", "src"}


class TestLines:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.text("ab \n日é", min_size=1, max_size=15), min_size=1, max_size=30), st.integers(10, 40))
    def test_no_line_is_too_long_and_no_letter_is_lost(self, tokens, columns):
        text = af.viz.tokens(tokens, np.zeros(len(tokens)), legend=False)
        lines = uncoloured(text.terminal(columns)).split("\n")
        assert max(map(width, lines)) <= columns
        letters = lambda written: re.sub(r"[\s⏎]", "", written)
        assert letters("".join(lines)) == letters("".join(tokens))

    def test_words_are_kept_together(self):
        text = af.viz.tokens([" aaaa", " bb", "bb", " cccc"], [0.0] * 4, legend=False)
        assert uncoloured(text.terminal(10)).split("\n") == ["aaaa bbbb", "cccc"]

    def test_new_lines_are_shown_and_begin_one(self):
        text = af.viz.tokens(["a", "\n", "b"], [0.0] * 3, legend=False)
        assert uncoloured(text.terminal(40)) == "a⏎\nb"


def test_colours_are_those_of_the_values():
    text = af.viz.tokens(["a", "b", "c", "d"], [1.0, -1.0, 0.0, float("nan")], legend=False)
    behind = re.findall(r"48;2;(\d+);(\d+);(\d+)m", text.terminal(80))
    assert behind == [("178", "24", "43"), ("33", "102", "172"), ("255", "255", "255"), ("64", "255", "0")]
    assert re.findall(r"background:(#\w+);color", text._repr_html_()) == ["#b2182b", "#2166ac", "#ffffff", "#40ff00"]
    assert re.findall(r'title="([^"]+)"', text._repr_html_()) == ["+1", "−1", "0", "not finite"]


def test_several_methods_and_texts():
    first = af.viz.tokens(["a", "b"], {"IG": [1.0, 2.0], "LRP": [10.0, -5.0]}, title="one", unit="nats")
    both = first + af.viz.tokens(["c"], [0.5], title="two")
    assert both.plain() == "one\nIG: a (+1) b (+2)\nLRP: a (+10) b (−5)\n\ntwo\nc (+0.5)"
    assert [row.scale.top for passage in both.passages for row in passage.rows] == [2.0, 10.0, 0.5]
    shown = uncoloured(both.terminal(80)).split("\n")
    assert shown[1] == "IG: blue against, red for, full at ±2 nats"
    with pytest.raises(TypeError):
        first + 1


def test_files(tmp_path):
    text = af.viz.tokens(["a", "日", "$x^$"], [1.0, 2.0, 3.0][:3], title="t")
    assert text.save(tmp_path / "a.txt").read_text() == "t\na (+1) 日 (+2) $x^$ (+3)\n"
    plain = af.viz.tokens(["a", "$x^$"], [1.0, 2.0])
    for suffix, begin in {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>"}.items():
        assert plain.save(tmp_path / f"a.{suffix}").read_bytes().startswith(begin)


def test_outliers_are_told():
    text = af.viz.tokens(list("ab"), [1.0, -9.0], limit=2.0)
    assert "full at ±2 and beyond" in text.terminal(80)
    assert "against ≤ −2" in Page(text._repr_html_()).text
