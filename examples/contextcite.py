"""Which sentences of a context does an answer rest on? (ContextCite, Cohen-Wang et al. 2024, arXiv:2409.00729)

    python examples/contextcite.py [--samples 32] [--top 2]

A sparse linear model of the log-odds of the answer is fitted to random subsets of the sentences. The sentences with the
largest weights are the sources. Whether they are is then checked: the answer's log-probability without these, and
without as many others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

import attrfunc as af
import language

CONTEXT = (
    "The harbour of Alden was built in 1874. It has two lighthouses and a small museum. "
    "The museum was founded by Clara Voss, who had been a diver. She collected bells of sunken ships. "
    "Most visitors come in June. The bakery beside the harbour sells rye bread. "
    "A ferry leaves for the islands twice a day. "
)
QUESTION = "Question: Who founded the museum of Alden? Answer: The museum was founded by"


class Cited(NamedTuple):
    """What was found.

    Attributes:
        answer: What the model said.
        sources: The sentences with the largest weights, and these.
        lost: What the answer's log-probability loses without them.
        lost_without_others: The same without as many of the others, on average over five draws.
        evaluations: Prompts that were read for the fit.
    """

    answer: str
    sources: list[tuple[str, float]]
    lost: float
    lost_without_others: float
    evaluations: int


def cite(model: Any, tokenizer: Any, context: str, question: str, *, samples: int, top: int) -> Cited:
    """The sources of the answer that a model gives to a question about a context."""
    length = len(context)  # the question is no source
    parts = af.text.segments(tokenizer, context + question, by="sentence", fixed=[(length, length + len(question))])
    answer = af.text.generate(model, parts, max_new_tokens=4)
    says = af.text.game(model, parts, answer)
    log_odds = lambda numbers: numbers.sum(1) - torch.log1p(-numbers.sum(1).exp().clamp(max=1 - 1e-6))  # noqa: E731
    weights = af.lime(
        says,
        says.full,
        target=log_odds,
        n_samples=samples,
        similarity=lambda coalitions, *_: torch.ones(len(coalitions)),
        linear_model=af.surrogates.lasso(0.01),
        generator=torch.Generator().manual_seed(0),
    )[0]
    evaluations = says.evaluations
    order = weights.argsort(descending=True).tolist()

    def lost(numbers: Sequence[int]) -> float:
        mask = says.full.clone()
        mask[0, list(numbers)] = False
        return float((says(says.full) - says(mask)).sum())

    generator = torch.Generator().manual_seed(1)
    others = torch.tensor(order[top:])
    draws = [others[torch.randperm(len(others), generator=generator)[:top]].tolist() for _ in range(5)]
    sources = [(parts.labels[number], float(weights[number])) for number in order[:top]]
    mean = sum(map(lost, draws)) / len(draws)
    return Cited(tokenizer.decode(answer), sources, lost(order[:top]), mean, evaluations)


def main(arguments: Sequence[str] | None = None) -> Cited:
    """Cite, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--top", type=int, default=2)
    options = parser.parse_args(arguments)
    found = cite(*language.load(), CONTEXT, QUESTION, samples=options.samples, top=options.top)
    print(f"{QUESTION}{found.answer}")
    for source, weight in found.sources:
        print(f"  {weight:+.2f}  {source}")
    print(
        f"without these sources the answer loses {found.lost:.2f} nats, without as many others "
        f"{found.lost_without_others:.2f} on average ({found.evaluations} prompts were read)"
    )
    return found


if __name__ == "__main__":
    main()
