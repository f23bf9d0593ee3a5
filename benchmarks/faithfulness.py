"""How faithful attributions of a language model's answers are, method by method: what decides the default of `explain`.

`python -m benchmarks.faithfulness` writes benchmarks/results/faithfulness.md. Twenty prompts are given to
SmolLM2-135M-Instruct, which answers each with four tokens at most. Every method attributes the log-probability of the
whole answer to the words of its prompt. The attributions are then compared with what the model does without words:

* *lost*: what the answer's log-probability loses, in nats, while words are deleted in three steps, those with the
  largest attributions first, less what it loses in the opposite order; the mean over the steps. (Symmetric
  relevance gain, Bluecher et al. 2024, arXiv:2405.19315.) Zero is what chance gives.
* *lost, replaced*: the same, with each token of an absent word replaced by the tokenizer's end of text.
* *one left out*: Pearson's correlation with what the log-probability loses without each word alone. Ablation is 1 by
  its definition, and a bound here.
* *half left out*: Pearson's correlation of sums of attributions with what is lost without random halves of the words
  (`af.metrics.faithfulness_correlation`), the same 16 halves for all methods. No method has seen them.

An interval is the range of the middle 95 % of means over prompts that are drawn again with replacement, 10,000 times.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from attrfunc.text.gradients import filler

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import language

RESULTS = Path(__file__).parent / "results"
BUDGET, HALVES, STEPS, DRAWS = 32, 16, 3, 10_000

PROMPTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "Mary gave the keys to John. Later, Mary asked John for the",
    "Dave lives in Palm Coast, Florida and is a lawyer. He likes to",
    "The doctors who treated the old man in the village",
    "Water freezes at zero degrees and boils at one hundred",
    "Monday, Tuesday, Wednesday, Thursday,",
    "Translate to French. dog: chien, cat: chat, house:",
    "Although it was raining heavily, the children went outside to",
    "The opposite of hot is cold. The opposite of tall is",
    "Sam has a red car and a blue bike. The colour of his bike is",
    "The museum was founded by Clara Voss, a diver. The museum was founded by",
    "Review: the food was awful and the waiter rude. Sentiment:",
    "def add(a, b):\n    return a",
    "2, 4, 6, 8, 10,",
    "The author of Romeo and Juliet is William",
    "Anna put the milk in the fridge. The milk is now in the",
    "My sister plays the violin. Every evening she practises her",
    "Bees collect nectar from flowers, and from it they make",
    "In 1969 Neil Armstrong was the first man to walk on the",
    "The lion, the tiger and the leopard are all big",
)


def log_odds(numbers: Tensor) -> Tensor:
    """Of the whole answer, which ContextCite explains."""
    return numbers.sum(1) - torch.log1p(-numbers.sum(1).exp().clamp(max=1 - 1e-6))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


METHODS: Mapping[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    "feature_ablation": (af.feature_ablation, dict),
    f"shapley_sampling, {BUDGET} prompts": (af.shapley_sampling, lambda: {"most": BUDGET, "generator": seeded()}),
    f"kernel_shap, {BUDGET} prompts": (af.kernel_shap, lambda: {"n_samples": BUDGET, "generator": seeded()}),
    f"lime (ContextCite), {BUDGET} prompts": (
        af.lime,
        lambda: {
            "score": log_odds,
            "n_samples": BUDGET,
            "similarity": lambda coalitions, *_: torch.ones(len(coalitions)),
            "linear_model": af.surrogates.lasso(0.01),
            "generator": seeded(),
        },
    ),
    "deep_lift": (af.deep_lift, dict),
    "ig, 12 points": (af.ig, lambda: {"n_steps": 12}),
    "lrp (AttnLRP), of logits": (af.lrp, lambda: {"score": af.text.logits}),
    "lrp (CP-LRP), of logits": (af.lrp, lambda: {"score": af.text.logits, "rules": af.rules.cp_lrp(bias=False)}),
    "input_x_gradient": (af.input_x_gradient, dict),
    "saliency": (af.saliency, dict),
}


def found_by(name: str, model: Any, parts: Any, answer: list[int]) -> tuple[Tensor, int]:
    """Attributions `(n,)` of the whole answer, and the prompts that were read for them."""
    method, options = METHODS[name]
    given = options()
    most = given.pop("most", None)
    if most is not None:  # a permutation and its reverse read 2 (n - 1) prompts, the ends aside
        given["n_samples"] = max(2, round(most / (len(parts) - 1) / 2) * 2)
    found = af.text.explain(method, model, parts, answer, each_token=False, **given)
    return found.sequence.float(), found.evaluations


def measures(says: Any, swapped: Any, attributions: Tensor) -> dict[str, float]:
    """What attributions are worth."""
    whole, a = af.text.sequence, attributions[None]
    measured = {}
    for name, game in {"lost": says, "lost, replaced": swapped}.items():
        curves = [
            af.metrics.perturbation_curve(game, game.full, a, target=whole, order=order, n_steps=STEPS)[0]
            for order in ("most_first", "least_first")
        ]
        measured[name] = float((curves[1] - curves[0])[1:-1].mean())
    alone = af.feature_ablation(says, says.full, target=whole)[0]
    measured["one left out"] = float(torch.corrcoef(torch.stack([alone, attributions]))[0, 1].nan_to_num(0.0))
    measured["half left out"] = float(
        af.metrics.faithfulness_correlation(
            says,
            says.full,
            a,
            target=whole,
            subset_size=len(attributions) // 2,
            n_subsets=HALVES,
            generator=torch.Generator().manual_seed(1),
        ).nan_to_num(0.0)
    )
    return measured


def ask(games: tuple[Any, ...], found: list[Tensor]) -> None:
    """Let games answer at once for all numbers of words, in the order of all attributions: they know them then."""
    masks = []
    for values in found:
        count = len(values)
        for sign in (1, -1):
            places = (sign * values).argsort(descending=True, stable=True).argsort()
            masks += [places >= round(step * count / STEPS) for step in range(STEPS + 1)]
    for game in games:
        game(torch.stack(masks))


def of_prompt(model: Any, tokenizer: Any, prompt: str) -> dict[str, Any]:
    """Everything measured of one prompt."""
    parts = af.text.segments(tokenizer, prompt, by="word")
    answer = af.text.generate(model, parts, max_new_tokens=4)
    says = af.text.game(model, parts, answer)
    swapped = af.text.game(model, parts, answer, absent=filler(tokenizer))
    rows: dict[str, dict[str, float]] = {}
    generator = torch.Generator().manual_seed(2)
    chance = [torch.randn(len(parts), generator=generator) for _ in range(2)]
    found = {}
    for name in METHODS:
        start = time.process_time()
        found[name], evaluations = found_by(name, model, parts, answer)
        rows[name] = {"prompts": evaluations, "seconds": time.process_time() - start}
    ask((says, swapped), [*found.values(), *chance])
    for name, attributions in found.items():
        rows[name].update(measures(says, swapped, attributions))
    drawn = [measures(says, swapped, attributions) for attributions in chance]
    rows["at random"] = {name: sum(one[name] for one in drawn) / len(drawn) for name in drawn[0]}
    rows["at random"].update(prompts=0, seconds=0)
    change = float((says(says.full) - says(~says.full)).sum())
    return {"prompt": prompt, "answer": tokenizer.decode(answer), "words": len(parts), "change": change, "rows": rows}


MEASURES = ("lost", "lost, replaced", "one left out", "half left out")


def told(values: Tensor) -> str:
    """A mean over prompts with its interval."""
    drawn = torch.randint(len(values), (DRAWS, len(values)), generator=torch.Generator().manual_seed(0))
    low, high = values[drawn].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def tables(found: list[dict[str, Any]]) -> tuple[str, str]:
    """All methods, and their differences from ablation, prompt by prompt."""
    names = list(found[0]["rows"])
    numbers = {n: {m: torch.tensor([one["rows"][n][m] for one in found]).double() for m in found[0]["rows"][n]}
               for n in names}  # fmt: skip
    every = [
        [name, *(told(numbers[name][m]) for m in MEASURES), f"{numbers[name]['prompts'].mean():.0f}",
         f"{numbers[name]['seconds'].mean():.1f}"]
        for name in names
    ]  # fmt: skip
    first = names[0]
    beside = [
        [name, *(told(numbers[name][m] - numbers[first][m]) for m in MEASURES if m != "one left out")]
        for name in names[1:]
    ]
    return (
        table(["method", *MEASURES, "prompts read", "CPU seconds"], every),
        table([f"method, less {first}", *(m for m in MEASURES if m != "one left out")], beside),
    )


VERDICT = """\
## What is decided

The default of `af.text.explain` is `feature_ablation`: it reads n + 2 prompts, nothing in it is drawn, and where words
are replaced, or left out by halves, no method is better by more than the interval. ContextCite's surrogate loses 1.5
nats more (0.3 to 2.8) where words are deleted in order, for two and a half times as many prompts and a draw: take it
where passes are cheap, or where there are more segments than one can read prompts. `kernel_shap` lies between the two;
`shapley_sampling` needs more than 32 prompts before its shares, which add up, are as faithful.

Of the methods that take gradients, AttnLRP (of logits) goes along best with what the model does, in one pass. DeepLIFT
and integrated gradients, from the end-of-text token as baseline, add up to a change of the score that has little to do
with words being deleted: their orders are no better than chance there. Saliency finds the words that matter, but has no
sign."""


def report(found: list[dict[str, Any]]) -> str:
    every, beside = tables(found)
    assert __doc__ is not None
    words = sum(one["words"] for one in found) / len(found)
    change = sum(one["change"] for one in found) / len(found)
    setup = (
        f"torch {torch.__version__}, transformers {version('transformers')}; one thread. {len(found)} prompts of "
        f"{words:.0f} words on average, without which the answers lose {change:.1f} nats on average."
    )
    prompts = [[one["prompt"].replace("\n", "\\n"), one["answer"].replace("\n", "\\n")] for one in found]
    parts = [
        "# Which method is faithful to a language model",
        __doc__.strip(),
        setup,
        "<!-- all methods -->",
        every,
        "<!-- decided -->",
        VERDICT,
    ]
    parts += ["## Beside ablation, prompt by prompt", beside, "## The prompts", table(["prompt", "answer"], prompts)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness", description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run that was cut off has measured")
    parser.add_argument("--report", action="store_true", help="write the table anew, and measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    import sklearn.linear_model  # noqa: F401, which is loaded where it is used, and would count there

    kept = RESULTS / "faithfulness.json"
    found = json.loads(kept.read_text()) if kept.exists() and not options.fresh else []
    if not options.report:
        model, tokenizer = language.load()
        for prompt in PROMPTS[len(found) :]:
            found.append(of_prompt(model, tokenizer, prompt))
            kept.write_text(json.dumps(found, indent=1) + "\n")
            print(found[-1]["prompt"], "->", found[-1]["answer"], flush=True)
    (RESULTS / "faithfulness.md").write_text(report(found))
    print(tables(found)[0])


if __name__ == "__main__":
    main()
