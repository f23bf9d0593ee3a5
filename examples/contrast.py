"""Why this answer and not that one?

    python examples/contrast.py

What made an answer probable is often not what made it more probable than another: grammar and topic serve both. The
contrast is explained by Shapley values of words, the answer alone beside it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import attrfunc as af
import language

PROMPT = "The doctors near the house"
ANSWER, FOIL = " were", " was"


class Found(NamedTuple):
    """The answer alone, and against the other one."""

    alone: af.text.TextAttribution
    contrast: af.text.TextAttribution


def explain(model: Any, tokenizer: Any, prompt: str = PROMPT) -> Found:
    """Both explanations of one prompt."""
    parts = af.text.segments(tokenizer, prompt, by="word")
    alone, against = (
        af.text.explain(af.shapley_values, model, parts, ANSWER, score=score)
        for score in (None, af.text.contrast(FOIL))
    )
    return Found(alone, against)


def main() -> Found:
    """Explain, and print what was found."""
    found = explain(*language.load())
    print(f"{PROMPT}{ANSWER}: log-probability {float(found.alone.scores.sum()):.2f}")
    print(found.alone)
    print(f"\n{ANSWER.strip()!r} rather than {FOIL.strip()!r}: {float(found.contrast.scores.sum()):+.2f} nats")
    print(found.contrast)
    return found


if __name__ == "__main__":
    main()
