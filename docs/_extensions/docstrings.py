"""Docstrings on the site: shared arguments are explained on the page of each function, from one source.

A docstring says of a shared argument only "see `attrfunc.core.score.target`". On the function's page what that module
says stands below, so that nobody has to look for it.
"""

import importlib
import inspect
import re
import sys
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import attrfunc

_AREAS = ("text", "influence", "metrics", "robust", "concepts", "gates", "data", "insights")
SPACES = ("rules", "masks", "surrogates", "viz", *_AREAS)
_FOLDERS = "|".join(("core", "perturbation", "gradient", "propagation", "combined", *_AREAS))
REFERENCE = re.compile(rf"see\s+`(attrfunc\.(?:{_FOLDERS})\.[\w.]+)`")
LISTED = re.compile(r"^   (attrfunc\.[\w.]+)$", re.MULTILINE)


def explained(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Put in reach what a docstring refers to, and its tables in a form that Sphinx reads."""
    text = written_below(name) if what == "data" else "\n".join(lines)
    modules = dict.fromkeys(REFERENCE.findall(text))
    text = REFERENCE.sub("see below", text) if what == "function" else text
    text += differences() if name == "attrfunc.captum.attr" else ""
    text = spaced(tables(text))
    for module in modules if what == "function" else ():
        shared = inspect.getdoc(importlib.import_module(module)) or ""
        title, _, body = shared.partition("\n")
        body = re.sub(r"This is where [^.]* documented; every method refers here\.\s*", "", body)
        text += f"\n\n.. rubric:: {title.rstrip('.')}\n\n{spaced(tables(definitions(body)))}\n"
    lines[:] = text.split("\n")


def differences() -> str:
    """What each class of the shim says of how it differs from Captum, as a list."""
    said = importlib.import_module("attrfunc.captum.attr").differences()
    of_all = {"Attribution": "All classes"}
    lines = [f"* {of_all.get(name, f'`{name}`')}: {one}" for name, sentences in said.items() for one in sentences]
    return "\n\n" + "\n".join(lines)


def written_below(name: str) -> str:
    """What stands below a constant where it is defined: the page would show the docstring of its class."""
    constant = name.rpartition(".")[2]
    for module in [module for module in sys.modules if module.startswith("attrfunc.")]:
        found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", constant))
        if found:
            return "\n".join(found)
    raise ValueError(f"nothing is written below {name}")


def definitions(text: str) -> str:
    """`name: What it is` at the margin is a definition."""
    return re.sub(r"^(\w+(?:, \w+)*): (.*)$", r"**\1**\n    \2", text, flags=re.MULTILINE)


def spaced(text: str) -> str:
    """A list that follows a line at once, in the form that Sphinx reads: behind an empty line."""
    found: list[str] = []
    for line in text.split("\n"):
        before = found[-1] if found else ""
        bullet = re.match(r" *\* ", line)
        inside = re.match(r" *", before).end() if before.strip() else None
        if bullet and inside == len(line) - len(line.lstrip()) and not before.lstrip().startswith("* "):
            found.append("")
        found.append(line)
    return "\n".join(found)


def tables(text: str) -> str:
    """Tables between bars, as docstrings have them, in the directive that Sphinx reads."""

    def table(match: re.Match[str]) -> str:
        indent = match.group(1)
        rows = [cells(line) for line in match.group(0).strip("\n").split("\n")]
        found = [f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
        for row in (rows[0], *rows[2:]):
            found += [f"{indent}   {'* -' if not number else '  -'} {cell}" for number, cell in enumerate(row)]
        return "\n".join(["", *found, "", ""])

    return re.sub(r"(?:^([ ]*)\|.*\|[ ]*\n){2}(?:^[ ]*\|.*\|[ ]*(?:\n|$))+", table, text, flags=re.MULTILINE)


def cells(line: str) -> list[str]:
    """The cells of a line, in which a bar between backticks is none."""
    return [cell.strip() for cell in re.findall(r"\|((?:`[^`]*`|[^|`])*)(?=\|)", line.strip())]


def complete(app: Sphinx) -> None:
    """Raise if the reference leaves out what is exported."""
    listed = set(LISTED.findall((app.srcdir / "reference.md").read_text()))
    spaces = {"attrfunc": attrfunc} | {f"attrfunc.{name}": getattr(attrfunc, name) for name in SPACES}
    exported = {f"{space}.{name}" for space, module in spaces.items() for name in module.__all__}
    exported -= set(spaces)
    if missing := sorted(exported - listed):
        raise ValueError(f"docs/reference.md does not list {missing}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", explained, priority=400)  # before Google's style is read
    app.connect("builder-inited", complete)
    return {"parallel_read_safe": True}
