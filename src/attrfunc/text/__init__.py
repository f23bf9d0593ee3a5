"""`attrfunc.text`: which part of a prompt made a language model say what it said."""

from attrfunc.text.continuation import Continuation, continuation
from attrfunc.text.readings import contrast, entropy, log_probabilities, logits, odds, sequence, span, token
from attrfunc.text.segments import Segments, segments

__all__ = [
    "Continuation",
    "Segments",
    "continuation",
    "contrast",
    "entropy",
    "log_probabilities",
    "logits",
    "odds",
    "segments",
    "sequence",
    "span",
    "token",
]
