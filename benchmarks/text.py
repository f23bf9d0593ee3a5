"""Attribution of a language model beside Captum, and beside loops by hand: seconds, prompts read, gaps, memory.

`python -m benchmarks.text` writes benchmarks/results/text.md. The model is SmolLM2-135M-Instruct in single precision,
the prompt has five values of a template, the answer eight tokens. Captum is run where it is right: its default mode,
with a cache, gives wrong numbers with this version of transformers, so it goes token by token without one, or by
sequence.
Seconds are those of the processor, the least of all runs; both take turns. Prompts are rows of forward passes.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import captum.attr as ca
import torch

import attrfunc as af

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import language

RESULTS = Path(__file__).parent / "results"
TEMPLATE, VALUES = "{} lives in {}, {} and is a {}. {} likes", ["Dave", "Palm Coast", "Florida", "lawyer", "He"]
ANSWER = " to surf, swim and go to the"
ANIMALS = ["cat", "dog", "fox", "owl", "bear", "wolf", "deer", "hare", "crow", "frog"]
ANIMALS += ["toad", "newt", "swan", "duck", "goose", "mole", "mouse", "rat", "bat", "bee"]
FACTS = " ".join(f"The {animal} was seen near the river in the year {1900 + n}." for n, animal in enumerate(ANIMALS))
QUESTION = " When was the owl seen? It was in"


class Measured(NamedTuple):
    """What one way took."""

    seconds: float
    rows: int
    value: Any


class Bench:
    """The model, with a count of the prompts that it reads."""

    def __init__(self, rounds: int) -> None:
        self.model, self.tokenizer = language.load()
        self.rounds = rounds
        self.parts = af.text.segments(self.tokenizer, (TEMPLATE, VALUES))
        self.tokens = af.text.segments(self.tokenizer, self.parts.text)
        self.answer = self.tokenizer(ANSWER).input_ids

    def timed(self, call: Callable[[], Any]) -> Measured:
        start = time.process_time()
        value, rows = call()
        return Measured(time.process_time() - start, rows, value)

    def counting(self, call: Callable[[], Any]) -> Callable[[], tuple[Any, int]]:
        """The same call, which also gives how many prompts the model reads in it."""

        def counted() -> tuple[Any, int]:
            forward, rows = self.model.forward, []

            def count(*args: Any, **kwargs: Any) -> Any:
                rows.append(len(kwargs["input_ids"] if "input_ids" in kwargs else args[0]))
                return forward(*args, **kwargs)

            self.model.forward = count
            try:
                return call(), sum(rows)
            finally:
                del self.model.forward

        return counted

    def turns(self, ways: dict[str, Callable[[], Any]]) -> dict[str, Measured]:
        """The fastest run of each way, taken in turns."""
        best: dict[str, Measured] = {}
        for _ in range(self.rounds):
            for name, call in ways.items():
                found = self.timed(call)
                best[name] = min(best.get(name, found), found, key=lambda one: one.seconds)
        return best


def captum_perturbs(bench: Bench, kind: Any, in_tokens: bool) -> Any:
    explainer = ca.LLMAttribution(kind(bench.model), bench.tokenizer)
    given = ca.TextTemplateInput(TEMPLATE, VALUES)
    options = {"forward_in_tokens": in_tokens, "use_cached_outputs": False}
    return explainer.attribute(given, torch.tensor(bench.answer), **options).token_attr


def by_text(bench: Bench, method: Any) -> Any:
    """The same game as Captum's: texts that are empty, read anew."""
    says = af.text.game(bench.model, bench.parts, bench.answer, absent="render")
    count = len(bench.answer)
    values = method(says, says.full.expand(count, -1), target=torch.arange(count))
    return values, says.evaluations


def captum_gradients(bench: Bench) -> Any:
    bench.model.requires_grad_(True)
    try:
        inner = ca.LayerIntegratedGradients(bench.model, bench.model.model.embed_tokens)
        explainer = ca.LLMGradientAttribution(inner, bench.tokenizer)
        given = ca.TextTokenInput(bench.parts.text, bench.tokenizer)
        return explainer.attribute(given, torch.tensor(bench.answer), n_steps=50).token_attr
    finally:
        bench.model.requires_grad_(False)


def gradients(bench: Bench, each: bool) -> Any:
    parts = af.text.segments(bench.tokenizer, bench.parts.text, fixed=None)
    found = af.text.explain(af.ig, bench.model, parts, bench.answer, each_token=each, absent=0, n_steps=50)
    return found.values, found.evaluations


def left_out(bench: Bench, share: bool) -> Any:
    parts = af.text.segments(bench.tokenizer, FACTS + QUESTION, by="sentence")
    says = af.text.game(bench.model, parts, " 1903", share=share)
    return af.feature_ablation(says, says.full, target=af.text.sequence)[0], says.evaluations


def left_out_by_hand(bench: Bench) -> Any:
    parts = af.text.segments(bench.tokenizer, FACTS + QUESTION, by="sentence")
    answer = bench.tokenizer(" 1903").input_ids
    found = []
    with torch.no_grad():
        for absent in (None, *range(len(parts))):
            row = [*parts.present([n != absent for n in range(len(parts))]), *answer]
            logits = bench.model(torch.tensor([row])).logits[0, -len(answer) - 1 : -1]
            found.append(logits.log_softmax(-1)[torch.arange(len(answer)), answer].sum())
    return torch.stack([found[0] - other for other in found[1:]]), len(found)


def compared(bench: Bench, names: list[str], ways: dict[str, Callable[[], Any]], tolerance: float) -> list[list[str]]:
    """Rows of the table: each way of `names` beside the last."""
    found = bench.turns(ways)
    *own, peer = names
    rows = []
    for name in own:
        one, other = found[name], found[peer]
        difference = ""
        if one.value.shape == other.value.shape:
            gap = float((one.value.cpu().double() - other.value.cpu().double()).abs().max())
            difference = f"{gap:.1e}"
            if gap > tolerance:
                difference += " (apart)"
        ratio = f"{other.seconds / one.seconds:.1f}"
        rows.append(
            [
                name,
                f"{one.seconds:.2f}",
                str(one.rows),
                peer,
                f"{other.seconds:.2f}",
                str(other.rows),
                ratio,
                difference,
            ]
        )
    return rows


def shapley(bench: Bench) -> list[list[str]]:
    names = ["exact Shapley values, 5 segments, each token", "Captum, token by token"]
    ways = (
        lambda: by_text(bench, af.shapley_values),
        bench.counting(lambda: captum_perturbs(bench, ca.ShapleyValues, True)),
    )
    return compared(bench, names, dict(zip(names, ways, strict=True)), 1e-3)


def ablation(bench: Bench) -> list[list[str]]:
    names = ["ablation, 5 segments, each token", "Captum, sequence mode"]
    ways = (
        lambda: by_text(bench, af.feature_ablation),
        bench.counting(lambda: captum_perturbs(bench, ca.FeatureAblation, False)),
    )
    return compared(bench, names, dict(zip(names, ways, strict=True)), 1e-3)


def integrated(bench: Bench) -> list[list[str]]:
    names = ["IG, 50 points, the sequence", "IG, 50 points, each token", "Captum"]
    ways = (
        lambda: gradients(bench, False),
        lambda: gradients(bench, True),
        bench.counting(lambda: captum_gradients(bench)),
    )
    return compared(bench, names, dict(zip(names, ways, strict=True)), 1e-2)


def sharing(bench: Bench) -> list[list[str]]:
    own, rows = "leave-one-out of 20 sentences, beginnings shared", []
    shared = lambda: left_out(bench, True)  # noqa: E731
    for other, way in {
        "the same without sharing": lambda: left_out(bench, False),
        "a loop by hand": lambda: left_out_by_hand(bench),
    }.items():
        rows += compared(bench, [own, other], {own: shared, other: way}, 1e-4)
    return rows


def gaps(bench: Bench) -> list[list[str]]:
    rows = []
    for name, method, options in (
        ("DeepLIFT", af.deep_lift, {}),
        ("IG, 50 points", af.ig, {"n_steps": 50}),
    ):
        found = af.text.explain(method, bench.model, bench.tokens, bench.answer, absent=0, each_token=False, **options)
        rows.append([name, f"{float(found.change):+.2f}", f"{float(found.gap):+.1e}"])
    return rows


def memory() -> str:
    """The most that explaining a prompt of 1,000 tokens takes, in this process."""
    model, tokenizer = language.load()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    text = (FACTS + " ") * 3
    ids = tokenizer(text).input_ids[:1000]
    parts = af.text.segments(tokenizer, tokenizer.decode(ids), by="token")
    found = af.text.explain(af.deep_lift, model, parts, " The owl", absent=0)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{len(parts.ids)} {before:.2f} {after:.2f} {float(found.gap.abs().max()):.1e}"


SECTIONS = {"shapley": shapley, "ablation": ablation, "integrated": integrated, "sharing": sharing}


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description=__doc__)
    parser.add_argument("--only", default="", help="regular expression on: " + ", ".join((*SECTIONS, "gaps", "memory")))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory-alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_alone:
        print(memory())
        return
    warnings.simplefilter("ignore")
    bench, wanted = Bench(options.rounds), lambda name: re.search(options.only, name)
    rows: list[list[str]] = []
    for name, section in SECTIONS.items():
        if wanted(name):
            rows += section(bench)
            print(*rows[-2:], sep="\n", flush=True)
    assert __doc__ is not None
    parts = ["# Language models beside Captum", __doc__.strip()]
    parts.append(
        f"torch {torch.__version__}, transformers {version('transformers')}, captum {version('captum')}; one thread."
    )
    header = ["what", "seconds", "prompts", "beside", "its seconds", "its prompts", "times as fast", "difference"]
    parts.append(table(header, rows))
    if wanted("gaps"):
        parts += [
            "## What is missing of the change of the log-probability",
            table(["method", "change", "gap"], gaps(bench)),
        ]
        print(parts[-1], flush=True)
    if wanted("memory"):
        del bench
        call = [sys.executable, "-m", "benchmarks.text", "--memory-alone"]
        told = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()
        most = f"{told[2]} GiB at most, of which {told[1]} GiB with the model alone; gap {told[3]} nats."
        parts += ["## Memory", f"DeepLIFT of a prompt of {told[0]} tokens, each of two tokens of an answer: {most}"]
        print(parts[-1], flush=True)
    if not options.only:
        (RESULTS / "text.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
