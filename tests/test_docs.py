"""Every example in the docstrings and the README runs."""

import doctest
import importlib.util
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


@pytest.mark.parametrize("space", [af, af.masks, af.surrogates], ids=lambda space: space.__name__)
def test_every_public_function_has_a_running_example(space):
    functions = [name for name in space.__all__ if callable(getattr(space, name)) and name[0].islower()]
    assert functions
    assert not [name for name in functions if ">>>" not in getattr(space, name).__doc__]


def test_readme():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    torch.manual_seed(0)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
