"""Every example in the docstrings and the README runs."""

import doctest
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import attrfunc as af
import language_models

MODULES = sorted(info.name for info in pkgutil.walk_packages(af.__path__, "attrfunc."))
WITH_EXAMPLES = [name for name in MODULES if ">>>" in Path(importlib.util.find_spec(name).origin).read_text()]
README = Path(__file__).parent.parent / "README.md"


def _language(name):
    """What examples of language models take: one with random weights."""
    if not name.startswith("attrfunc.text"):
        return {}
    return {"model": language_models.llama(), "tokenizer": language_models.byte_level()}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstrings(name):
    torch.manual_seed(0)
    result = doctest.testmod(importlib.import_module(name), extraglobs={"af": af, "torch": torch, **_language(name)})
    assert result.attempted
    assert result.failed == 0


@pytest.mark.parametrize(
    "space",
    [af, af.concepts, af.data, af.gates, af.influence, af.masks, af.metrics, af.robust, af.surrogates, af.viz],
    ids=lambda space: space.__name__,
)
def test_every_public_function_has_a_running_example(space):
    functions = [name for name in space.__all__ if callable(getattr(space, name)) and name[0].islower()]
    assert functions
    assert not [name for name in functions if ">>>" not in getattr(space, name).__doc__]


def test_readme_prints_what_it_says(capsys):
    text = README.read_text()
    assert text.count("\n") <= 120
    torch.manual_seed(0)
    names: dict = {}
    recipes = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert len(recipes) == text.count("```python") == 3
    for block, printed in recipes:
        exec(compile(block, "README.md", "exec"), names)
        assert capsys.readouterr().out == printed


@pytest.mark.parametrize("space", [af, af.rules], ids=lambda space: space.__name__)
def test_every_reference_has_a_link(space):
    docs = {name: inspect.getdoc(getattr(space, name)) or "" for name in space.__all__}
    references = {name: doc.split("Reference:")[1] for name, doc in docs.items() if "Reference:" in doc}
    assert len(references) >= 10
    assert not [name for name, text in references.items() if "https://" not in text]
