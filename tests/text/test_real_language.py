"""A real language model, SmolLM2, and the examples that explain it."""

import pytest
import torch

import attrfunc as af
import attribution_patching
import contextcite
import contrast
import language

pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def loaded():
    return language.load()


def test_the_source_of_an_answer(loaded):
    found = contextcite.cite(*loaded, contextcite.CONTEXT, contextcite.QUESTION, samples=16, top=1)
    assert "Clara Voss" in found.answer
    assert found.sources[0][0].startswith("The museum was founded by Clara Voss")
    assert found.lost > 10 * abs(found.lost_without_others)


def test_grammar_shows_in_the_contrast_alone(loaded):
    found = contrast.explain(*loaded)
    doctors = found.alone.labels.index("doctors")
    assert found.contrast.sequence[doctors] > found.alone.sequence[doctors] + 1
    for one in found:
        assert one.gap.abs().max() < 1e-4


def test_patching_is_estimated(loaded):
    found = attribution_patching.patch(*loaded, layers=(20, 24), n_steps=3)
    assert found.change > 5
    assert torch.corrcoef(torch.stack([found.integrated.flatten(), found.patched.flatten()]))[0, 1] > 0.9
    assert ((found.layers / found.change - 1).abs() < 0.2).all()


def test_a_conversation(loaded):
    model, tokenizer = loaded
    messages = [{"role": "user", "content": "I live in Rome. I like cats. Which animal do I like?"}]
    parts = af.text.segments(tokenizer, messages, by="sentence")
    assert parts.labels[-3:] == ("I live in Rome.", "I like cats.", "Which animal do I like?")
    found = af.text.explain(af.feature_ablation, model, parts, "You like cats.")
    values = dict(zip(found.labels, found.span("cats").tolist(), strict=True))
    assert max(values, key=values.get) == "I like cats."
    tokens = af.text.segments(tokenizer, messages)
    lifted = af.text.explain(af.deep_lift, model, tokens, "You like cats.")
    assert lifted.gap.abs().max() < 1e-3
    assert lifted.by("sentence").values.shape[1] <= 4
