"""Exact Shapley values of the parts of a prompt, what pairs of them do together, and all tokens in one pass.

    python examples/prompt_shapley.py

Five values of a template are the players: each of their 32 coalitions is one prompt, and every token of the answer is
explained by the same 32 passes. DeepLIFT and AttnLRP then tell what each token of the prompt did, in one pass each, and
leave-one-out says how far they agree with deleting tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

import attrfunc as af
import language

TEMPLATE = "{name} lives in {city}, {state} and is a {job}. {name2} likes"
VALUES = {"name": "Dave", "city": "Palm Coast", "state": "Florida", "job": "lawyer", "name2": "He"}
ANSWER = " to surf, swim and"


class Found(NamedTuple):
    """What was found.

    Attributes:
        shapley: Shapley values of the five values, for each token of the answer.
        interactions: What pairs do together for the whole answer (k-SII), `(5, 5)`.
        agreement: The correlation of each method that takes one pass with leave-one-out, over the prompt's tokens.
        gaps: By how much DeepLIFT misses the change of the log-probabilities, at worst, beside that change.
    """

    shapley: af.text.TextAttribution
    interactions: Tensor
    agreement: dict[str, float]
    gaps: tuple[float, float]


def explain(model: Any, tokenizer: Any) -> Found:
    """All of it, for one model."""
    parts = af.text.segments(tokenizer, (TEMPLATE, VALUES))
    shapley = af.text.explain(af.shapley_values, model, parts, ANSWER)
    says = af.text.game(model, parts, ANSWER)
    _, pairs = af.shapley_interactions(says, says.full, target=af.text.sequence, order=2)
    tokens = af.text.segments(tokenizer, parts.text)
    removed = af.text.explain(af.feature_ablation, model, tokens, ANSWER)
    lifted = af.text.explain(af.deep_lift, model, tokens, ANSWER)
    relevance = af.text.explain(af.lrp, model, tokens, ANSWER, score=af.text.logits, rules=af.rules.attn_lrp())
    agreement = {
        one.method: float(torch.corrcoef(torch.stack([one.sequence, removed.sequence]))[0, 1])
        for one in (lifted, relevance)
    }
    gaps = float(lifted.gap.abs().max()), float(lifted.change.abs().max())
    return Found(shapley, pairs[0], agreement, gaps)


def main() -> Found:
    """Explain, and print what was found."""
    found = explain(*language.load())
    print(found.shapley)
    labels, pairs = found.shapley.labels, found.interactions
    place = int(pairs.triu(1).abs().argmax())
    one, other = divmod(place, len(labels))
    print(f"strongest pair: {labels[one]!r} and {labels[other]!r}, {float(pairs[one, other]):+.3f} nats together")
    for name, value in found.agreement.items():
        print(f"{name}: correlation with leaving tokens out {value:+.2f}")
    print(f"DeepLIFT misses {found.gaps[0]:.1e} of {found.gaps[1]:.2f} nats")
    return found


if __name__ == "__main__":
    main()
