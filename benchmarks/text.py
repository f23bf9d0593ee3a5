"""Attribution of a language model beside its peers, and beside loops by hand: seconds, prompts read, gaps, memory.

`python -m benchmarks.text` writes benchmarks/results/text.md. The model is SmolLM2-135M-Instruct in single precision,
the prompt has five values of a template, 15 tokens in all, the answer eight tokens. Captum is run where it is right:
its default mode, with a cache, gives wrong numbers with this version of transformers, so it goes token by token without
one, or by sequence. Loops by hand are what a good engineer writes: frozen parameters, one pass for all tokens of the
answer, logits of these alone, the best number of rows at once. Prompts are rows of forward passes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import captum.attr as ca
import numpy as np
import torch
from torch import Tensor

import attrfunc as af
from benchmarks.measure import Spread
from benchmarks.why import why

try:
    import inseq
except ImportError:  # it asks for versions of its own: pip install --no-deps
    inseq = None

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import language

RESULTS = Path(__file__).parent / "results"
TEMPLATE, VALUES = "{} lives in {}, {} and is a {}. {} likes", ["Dave", "Palm Coast", "Florida", "lawyer", "He"]
ANSWER = " to surf, swim and go to the"
ANIMALS = ["cat", "dog", "fox", "owl", "bear", "wolf", "deer", "hare", "crow", "frog"]
ANIMALS += ["toad", "newt", "swan", "duck", "goose", "mole", "mouse", "rat", "bat", "bee"]
FACTS = " ".join(f"The {animal} was seen near the river in the year {1900 + n}." for n, animal in enumerate(ANIMALS))
QUESTION = " When was the owl seen? It was in"


class Bench:
    """The model, with what is asked of it."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.model, self.tokenizer = language.load()
        self.parts = af.text.segments(self.tokenizer, (TEMPLATE, VALUES))
        self.tokens = af.text.segments(self.tokenizer, self.parts.text)
        self.answer = self.tokenizer(ANSWER).input_ids

    def counting(self, call: Callable[[], Any]) -> tuple[Any, int]:
        """What a call gives, and how many prompts the model reads in it."""
        forward, rows = self.model.forward, []

        @functools.wraps(forward)
        def count(*args: Any, **kwargs: Any) -> Any:
            given = (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
            rows.append(len(next(one for one in given if one is not None)))
            return forward(*args, **kwargs)

        self.model.forward = count
        try:
            return call(), sum(rows)
        finally:
            del self.model.forward

    def steps(self, tokens: Tensor | None = None, *, embedded: Tensor | None = None) -> Tensor:
        """By hand: the log-probabilities `(rows, T)` of the answer behind some prompts."""
        said = torch.tensor(self.answer)
        rows = len(tokens) if tokens is not None else len(embedded)  # type: ignore[arg-type]
        if tokens is not None:
            given = {"input_ids": torch.cat([tokens, said[:-1].expand(rows, -1)], 1)}
        else:
            given = {"inputs_embeds": embedded}
        logits = self.model(**given, use_cache=False, logits_to_keep=len(said)).logits
        found: Tensor = logits.log_softmax(-1).gather(-1, said.expand(rows, -1)[..., None])[..., 0]
        return found


class Way(NamedTuple):
    """A line of the table: what is compared, the least ratio that it is to reach, and by how much values may differ."""

    name: str
    peer: str
    goal: float
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    tolerance: float | None
    rounds: int


def captum_perturbs(bench: Bench, kind: Any, in_tokens: bool) -> Any:
    explainer = ca.LLMAttribution(kind(bench.model), bench.tokenizer)
    given = ca.TextTemplateInput(TEMPLATE, VALUES)
    options = {"forward_in_tokens": in_tokens, "use_cached_outputs": False}
    return explainer.attribute(given, torch.tensor(bench.answer), **options).token_attr


def by_text(bench: Bench, method: Any) -> Any:
    """The same game as Captum's: texts that are empty, read anew."""
    says = af.text.game(bench.model, bench.parts, bench.answer, absent=[""] * len(bench.parts))
    count = len(bench.answer)
    return method(says, says.full.expand(count, -1), target=torch.arange(count))


def captum_gradients(bench: Bench) -> Any:
    bench.model.requires_grad_(True)
    try:
        inner = ca.LayerIntegratedGradients(bench.model, bench.model.model.embed_tokens)
        explainer = ca.LLMGradientAttribution(inner, bench.tokenizer)
        given = ca.TextTokenInput(bench.parts.text, bench.tokenizer)
        return explainer.attribute(given, torch.tensor(bench.answer), n_steps=bench.points).token_attr
    finally:
        bench.model.requires_grad_(False)


def gradients(bench: Bench, each: bool) -> Any:
    parts = af.text.segments(bench.tokenizer, bench.parts.text, fixed=None)
    found = af.text.explain(af.ig, bench.model, parts, bench.answer, each_token=each, absent=0, n_steps=bench.points)
    return found.values.float()


def left_out(bench: Bench, share: bool) -> Any:
    parts = af.text.segments(bench.tokenizer, FACTS + QUESTION, by="sentence")
    says = af.text.game(bench.model, parts, " 1903", share=share)
    return af.feature_ablation(says, says.full, target=af.text.sequence)[0]


def left_out_by_hand(bench: Bench) -> Any:
    parts = af.text.segments(bench.tokenizer, FACTS + QUESTION, by="sentence")
    answer = bench.tokenizer(" 1903").input_ids
    found = []
    with torch.no_grad():
        for absent in (None, *range(len(parts))):
            row = [*parts.present([n != absent for n in range(len(parts))]), *answer]
            logits = bench.model(torch.tensor([row])).logits[0, -len(answer) - 1 : -1]
            found.append(logits.log_softmax(-1)[torch.arange(len(answer)), answer].sum())
    return torch.stack([found[0] - other for other in found[1:]])


def games_by_hand(bench: Bench, exact: bool) -> Any:
    """Shapley values, or ablation, of the five values: one prompt after the other."""
    n = len(bench.parts)
    masks = torch.tensor(list(itertools.product([False, True], repeat=n)))
    if not exact:
        masks = masks[(~masks).sum(1) <= 1]
    found = {}
    with torch.no_grad():
        for mask in masks.tolist():
            tokens = torch.tensor([bench.parts.encode(bench.parts.render(mask, [""] * n))])
            found[tuple(mask)] = bench.steps(tokens)[0]
    values = torch.zeros(len(bench.answer), n)
    for mask, score in found.items():
        for i in range(n) if exact else [i for i in range(n) if all(mask)]:
            other = tuple(here and j != i for j, here in enumerate(mask))
            if mask[i]:
                size = sum(other)
                weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n) if exact else 1.0
                values[:, i] += weight * (score - found[other])
    return values


def path_by_hand(bench: Bench, each: bool) -> Any:
    """Integrated gradients at points of the path, in the best chunks."""
    table, count = bench.model.get_input_embeddings(), len(bench.tokens.ids)
    said = torch.tensor([bench.answer[:-1]])
    ids = torch.tensor([bench.tokens.ids])
    x, end, tail = table(ids), table(torch.zeros_like(ids)), table(said)
    nodes, weights = (torch.tensor(part).float() for part in np.polynomial.legendre.leggauss(bench.points))
    sums = torch.zeros(len(bench.answer) if each else 1, *x.shape[1:])
    for some, weight in zip(
        ((nodes + 1) / 2).split(4 if each else 10), (weights / 2).split(4 if each else 10), strict=True
    ):
        points = (end + some[:, None, None] * (x - end)).requires_grad_()
        scores = bench.steps(embedded=torch.cat([points, tail.expand(len(some), -1, -1)], 1))
        for place, score in enumerate(scores.sum(0) if each else [scores.sum()]):
            (slope,) = torch.autograd.grad(score, points, retain_graph=each)
            sums[place] += (weight[:, None, None] * slope).sum(0)
    assert count == x.shape[1]
    return (sums * (x - end)).sum(-1)


def inseq_gradients(bench: Bench) -> Any:
    bench.model.requires_grad_(True)
    try:
        prompt = bench.parts.text
        wrapped = inseq.load_model(bench.model, "integrated_gradients", tokenizer=bench.tokenizer)
        return wrapped.attribute(prompt, prompt + ANSWER, n_steps=bench.points, show_progress=False)
    finally:
        bench.model.requires_grad_(False)


def ways(bench: Bench) -> list[Way]:
    exact, ablated = (lambda m=m: by_text(bench, m) for m in (af.shapley_values, af.feature_ablation))
    five = "of 5 segments, each token"
    path, left = f"IG, {bench.points} points", "leave-one-out of 20 sentences, shared"
    whole, tokens = (lambda e=e: gradients(bench, e) for e in (False, True))
    shared, captums = (lambda: left_out(bench, True)), (lambda: captum_gradients(bench))
    found = [
        Way(f"ablation {five}", "Captum, sequence", 1.8, ablated,
            lambda: captum_perturbs(bench, ca.FeatureAblation, False), 1e-3, 3),
        Way(f"ablation {five}", "by hand", 1, ablated, lambda: games_by_hand(bench, False), 1e-3, 3),
        Way(left, "the same, not shared", 1.7, shared, lambda: left_out(bench, False), 1e-3, 2),
        Way(left, "by hand", 1, shared, lambda: left_out_by_hand(bench), 1e-3, 2),
        Way(f"exact Shapley values {five}", "by hand", 1, exact, lambda: games_by_hand(bench, True), 1e-3, 2),
        Way(f"{path}, the sequence", "by hand", 1, whole, lambda: path_by_hand(bench, False), 1e-2, 1),
        Way(f"{path}, the sequence", "Captum", 5, whole, captums, None, 1),
        Way(f"{path}, each token", "Captum", 1.6, tokens, captums, None, 1),
        Way(f"{path}, each token", "by hand", 1, tokens, lambda: path_by_hand(bench, True), 1e-2, 1),
        Way(f"exact Shapley values {five}", "Captum, sequence", 30, exact,
            lambda: captum_perturbs(bench, ca.ShapleyValues, False), 1e-3, 1),
    ]  # fmt: skip
    if inseq is not None:
        by_inseq = lambda: inseq_gradients(bench)  # noqa: E731
        found += [
            Way(f"{path}, the sequence", "inseq", 5, whole, by_inseq, None, 1),
            Way(f"{path}, each token", "inseq", 1.6, tokens, by_inseq, None, 1),
        ]
    return found


class Clock:
    """Seconds of calls; what has been timed as often as it is asked for is not called again."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._held: dict[str, tuple[list[float], Any, int]] = {}

    def turns(self, way: Way) -> tuple[tuple[list[float], Any, int], ...]:
        """Seconds, values and prompts of both, which take turns."""
        # One run of Captum's, or of inseq's, gives the whole and each token.
        peer = f"IG: {way.peer}" if way.peer in ("Captum", "inseq") and "IG" in way.name else f"{way.name}: {way.peer}"
        runs = [(way.name, way.ours), (peer, way.theirs)]
        for number in range(way.rounds):
            for name, call in runs[:: 1 if number % 2 else -1]:
                self._timed(name, call, number)
        both = (self._held[name] for name, _ in runs)
        return tuple((seconds[: way.rounds], value, rows) for seconds, value, rows in both)

    def _timed(self, name: str, call: Callable[[], Any], number: int) -> None:
        seconds, value, rows = self._held.get(name, ([], None, 0))
        if len(seconds) <= number:
            start = time.process_time()
            value, rows = self._bench.counting(call)
            self._held[name] = ([*seconds, time.process_time() - start], value, rows)


def line(clock: Clock, way: Way) -> list[str]:
    """A row of the table."""
    (ours, one, rows), (theirs, other, other_rows) = clock.turns(way)
    spread = Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])
    difference = ""
    if way.tolerance is not None:
        gap = float((one.cpu().double() - other.cpu().double()).abs().max())
        difference = f"{gap:.0e}" + (" (apart)" if gap > way.tolerance else "")
    reached = "✓" if spread.low >= way.goal else "≈" if spread.high >= way.goal else "✗"
    seconds = [f"{statistics.median(part):.2f}" for part in (ours, theirs)]
    told = f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})" if way.rounds > 1 else f"{spread.median:.2f}"
    return [
        way.name,
        way.peer,
        seconds[0],
        str(rows),
        seconds[1],
        str(other_rows),
        told,
        f"{way.goal:g}",
        reached,
        difference,
    ]


def reasons(rows: list[list[str]]) -> str:
    """Why goals are missed."""
    missed = [(row[0], row[1]) for row in rows if row[8] == "✗"]
    peers = [peer.split(",")[0].replace(" ", "-") for _, peer in missed]
    whys = [why(f"text: {name}", peer) for (name, _), peer in zip(missed, peers, strict=True)]
    told = [f"- {name}, beside {peer}: {reason}" for (name, peer), reason in zip(missed, whys, strict=True)]
    return "\n".join(["## Goals that are missed", "", *told]) if told else ""


def gaps(bench: Bench) -> list[list[str]]:
    rows = []
    for name, method, options in (
        ("DeepLIFT", af.deep_lift, {}),
        ("IG, 50 points", af.ig, {"n_steps": 50}),
    ):
        found = af.text.explain(method, bench.model, bench.tokens, bench.answer, absent=0, each_token=False, **options)
        rows.append([name, f"{float(found.change):+.2f}", f"{float(found.gap):+.1e}"])
    return rows


# Which methods explain how many tokens of a prompt, where memory is measured: DeepLIFT keeps every operation's values.
LONG = (("integrated_gradients", 1000), ("deep_lift", 250))


def memory(method: str, count: int) -> str:
    """The most that explaining so many tokens of a prompt takes, in this process."""
    model, tokenizer = language.load()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    text = (FACTS + " ") * 4
    parts = af.text.segments(tokenizer, tokenizer.decode(tokenizer(text).input_ids[:count]), by="token")
    options = {"n_steps": 2} if method == "integrated_gradients" else {}  # points go one after the other
    af.text.explain(getattr(af, method), model, parts, " The owl", absent=0, each_token=False, **options)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{len(parts.ids)} {before:.2f} {after:.2f}"


HEADER = [
    "case",
    "beside",
    "attrfunc, s",
    "its prompts",
    "peer, s",
    "its prompts",
    "ratio (quartiles)",
    "goal",
    "reached",
]
HEADER.append("difference")
KEPT = RESULTS / "text.json"


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def measured(fresh: bool, points: int) -> dict[str, Any]:
    """All numbers; what an earlier run that was cut off has measured is kept."""
    held: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() and not fresh else {"rows": []}
    bench = Bench(points)
    clock, done = Clock(bench), {(row[0], row[1]) for row in held["rows"]}
    for way in ways(bench):
        if (way.name, way.peer) not in done:
            held["rows"].append(line(clock, way))
            KEPT.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n")
            print(held["rows"][-1], flush=True)
    if "gaps" not in held:
        held["gaps"] = gaps(bench)
    if "memory" not in held:
        del bench, clock
        call = [sys.executable, "-m", "benchmarks.text", "--memory-of"]
        held["memory"] = [
            [name, *subprocess.run([*call, name], capture_output=True, text=True, check=True).stdout.split()]
            for name, _ in LONG
        ]
    KEPT.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n")
    return held


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description=__doc__)
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run that was cut off has measured")
    parser.add_argument("--points", type=int, default=50, help="of paths; fewer take less time, and favour the peers")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(memory(options.memory_of, dict(LONG)[options.memory_of]))
        return
    warnings.simplefilter("ignore")
    held = measured(not options.resume, options.points)
    peers = f"captum {version('captum')}" + (f", inseq {version('inseq')}" if inseq is not None else "")
    assert __doc__ is not None
    parts = ["# Language models beside their peers", __doc__.strip()]
    parts.append(
        f"torch {torch.__version__}, transformers {version('transformers')}, {peers}; one thread. A ratio is the "
        "peer's CPU seconds over ours, the median over rounds in which both take turns (peers that take a minute are "
        "run once); `✓` the goal is reached, `≈` it lies between the quartiles, `✗` missed."
    )
    parts.append(table(HEADER, held["rows"]))
    parts.append(reasons(held["rows"]))
    parts += [
        "## What is missing of the change of the log-probability",
        table(["method", "change", "gap"], held["gaps"]),
    ]
    parts += [
        "## Memory",
        "The goal is 1,000 tokens within 4 GiB. DeepLIFT keeps what every operation read: 12 MiB more for each token.",
        table(["method", "tokens", "model alone, GiB", "at most, GiB"], held["memory"]),
    ]
    (RESULTS / "text.md").write_text("\n\n".join(filter(None, parts)) + "\n")


if __name__ == "__main__":
    main()
