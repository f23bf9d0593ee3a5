"""Every method on models of every kind: right, or refused by name. `docs/zoo.md` says which is which.

    ATTRFUNC_WRITE=1 pytest -p no:xdist tests/test_zoo_table.py    # writes the table

What is right is what the method gives for the plain form of the model, which computes the same in plain layers.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import attrfunc as af
from contract_table import BEFORE, METHODS
from zoo_wild import WILD

TABLE = Path(__file__).parent.parent / "docs" / "zoo.md"
# The first row of each method, at the input.
ROWS = {}
for row in METHODS:
    if not row.variant and (not row.views or row.views == BEFORE):
        ROWS.setdefault(row.call.__name__.removesuffix("_attn_lrp"), row)
GAMES = {
    "shapley_values",
    "banzhaf_values",
    "owen_values",
    "shapley_interactions",
    "kernel_shap",
    "gaussian_process_shap",
}
HEADER = f"""# Which methods take which models

Written by `tests/test_zoo_table.py`, which tries {len(ROWS)} methods on each of these models. A method is right
where it gives what it gives for the same computation in plain layers. Where it is refused, the error says why. Models
whose rows depend on each other are evaluated one point at a time, with a warning; attributions are of the sum of the
scores.

| model | right | refused |
|---|---|---|
"""

pytestmark = [
    # What is told of examples that depend on each other is so; that torch loops, too.
    pytest.mark.filterwarnings("ignore:.*one by one on the whole batch"),
    # What is told of experts with ReLUs is so, too.
    pytest.mark.filterwarnings("ignore:.*the interactions miss more than"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]


def attribution(name, case, model, *, plain=False):
    """What a method gives for the model of a case, or for its plain form."""
    row, joined = ROWS[name], plain and case.joined
    one = (lambda leaf: leaf[None]) if joined else (lambda leaf: leaf)
    options = {"args": case.args, "target": case.plain_target if plain else case.target}
    if row.baseline and case.start is None:
        options["baseline"] = one(0.3 * case.x.flip(0))
    if row.views:
        row = replace(row, call=row.call.__wrapped__)
        options["layer"] = case.layer.removeprefix("_orig_mod.") if plain else case.layer
    if "neuron" in row.options:
        options["neuron"] = (slice(None), case.neuron) if joined else case.neuron
    if name == "lrp":  # what keeps it from being steep is another number in another form
        row, options["rules"] = replace(row, call=af.lrp), af.rules.attn_lrp(epsilon=1e-9)
    if case.joined:
        if name in GAMES:
            row = replace(row, call=row.call.__wrapped__)  # each number is a player
        if name == "owen_values":
            options["nesting"] = [[0, 1], [2, 3, 4, 5]]
        if name == "gradient_shap":
            options |= {"baselines": torch.full_like(case.x[:1], 0.5), "n_samples": 500, "stdev": 0.0}
    view = model if case.start is None or "cam" in name else af.layer(model, case.start)
    return row(view, one(case.x), **options)


def expected(name, case, model):
    """The same by the plain form, or by hand where examples of a batch are no examples of the plain form."""
    if not case.joined:
        return attribution(name, case, case.plain(model), plain=True)
    if name == "grad_cam":
        return cam_by_hand(case, model)
    if name == "eigen_cam":  # of a row by itself, which has one position, what is left is its length
        return activation_of(case, model)[0].detach().norm(dim=1, keepdim=True)
    if name == "gradient_shap":  # its draws are others, so that only what they tend to is the same
        return af.ig(case.plain(model), case.x[None], baseline=0.5, args=case.args, target=1)[0]
    found = attribution(name, case, case.plain(model), plain=True)
    return pytree.tree_map(lambda leaf: leaf[0], found) if ROWS[name].mirrors else found


def cam_by_hand(case, model):
    activation, score = activation_of(case, model)
    return (activation * torch.autograd.grad(score, activation)[0]).sum(1, keepdim=True).detach()


def activation_of(case, model):
    """What the layer gives, and the sum of the scores."""
    kept = []
    handle = getattr(model, case.layer).register_forward_hook(lambda module, args, out: kept.append(out))
    score = model(case.x, *case.args)[:, case.target].sum()
    handle.remove()
    return kept[0], score


def verdict(name, case):
    """None where a method is right, else why it is refused."""
    model = case.make()
    try:
        found = attribution(name, case, model)
    except af.AttributionError as error:
        return reason(error)
    rtol = 1e-2 if case.joined and name == "gradient_shap" else 1e-7
    pairs = zip(*map(pytree.tree_leaves, (found, expected(name, case, model))), strict=True)
    for ours, theirs in pairs:
        assert theirs.abs().max() > 0, f"{name} tells nothing"
        torch.testing.assert_close(
            ours, theirs, rtol=0, atol=rtol * float(theirs.detach().abs().max()), msg=f"{name} is wrong"
        )
    return None


def reason(error):
    """What an error says, in short: without where it happened, which a script tells another way each time."""
    function, _, message = str(error).partition(": ")
    assert function == error.function
    if isinstance(error, af.ArgumentError):
        return f"`{error.argument}`: expected {error.expected}"
    return re.sub(r" \(.*?\)", "", message).split(": ")[0].split(". ")[0]


def line(case):
    """What the table says of a model."""
    reasons = {}
    for name in ROWS:
        reasons.setdefault(verdict(name, case), []).append(f"`{name}`")
    right = len(reasons.pop(None))
    refused = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    return f"| {case} | {right} of {len(ROWS)} | {refused} |\n"


@pytest.mark.parametrize("case", WILD, ids=str)
def test_the_table_says_what_is(case):
    found = line(case)
    if os.environ.get("ATTRFUNC_WRITE"):
        lines = {key: row for key, row in table().items() if key in map(str, WILD)} | {str(case): found}
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(HEADER + "".join(lines.values()))
    assert table().get(str(case)) == found


def test_the_table_is_of_these_models_and_methods():
    assert TABLE.read_text().startswith(HEADER)
    assert list(table()) == [str(case) for case in WILD]


def table():
    """The lines of the table by model."""
    lines = TABLE.read_text().partition("|---|---|---|\n")[2].splitlines(keepends=True) if TABLE.exists() else []
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


@pytest.mark.parametrize("case", [case for case in WILD if case.start is None], ids=str)
def test_integrated_gradients_by_a_loop(case):
    """On the model itself, by plain autograd, a point at a time and the batch as it is."""
    model, x, baseline = case.make(), case.x, 0.3 * case.x.flip(0)
    total = torch.zeros_like(x)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        fresh = case.make()
        point = (baseline + node * (x - baseline)).requires_grad_()
        output = fresh(point, *case.args)
        score = output[:, case.target] if isinstance(case.target, int) else case.target(output)
        total += weight * torch.autograd.grad(score.sum(), point)[0]
    found = af.ig(model, x, baseline=baseline, n_steps=6, args=case.args, target=case.target)
    torch.testing.assert_close(found, total * (x - baseline), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", WILD, ids=str)
def test_the_plain_form_computes_the_same(case):
    model = case.make()
    ours = case.make()(case.x, *case.args)
    ours = ours[:, 1] if isinstance(case.target, int) else case.target(ours)
    theirs = case.plain(model)(case.x[None] if case.joined else case.x, *case.args)
    theirs = theirs if case.plain_target is None else theirs[:, 1]
    torch.testing.assert_close(ours.sum()[None] if case.joined else ours, theirs)
