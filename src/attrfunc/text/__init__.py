"""`attrfunc.text`: which part of a prompt made a language model say what it said."""

from attrfunc.text.answers import generate
from attrfunc.text.attribution import TextAttribution
from attrfunc.text.continuation import Continuation, continuation
from attrfunc.text.explaining import explain
from attrfunc.text.game import Game, game
from attrfunc.text.outputs import Outputs, outputs
from attrfunc.text.readings import contrast, entropy, log_probabilities, logits, odds, sequence, span, token
from attrfunc.text.remote import remote_game
from attrfunc.text.segments import Segments, segments
from attrfunc.text.server import completions

__all__ = [
    "Continuation",
    "Game",
    "Outputs",
    "Segments",
    "TextAttribution",
    "completions",
    "continuation",
    "contrast",
    "entropy",
    "explain",
    "game",
    "generate",
    "log_probabilities",
    "logits",
    "odds",
    "outputs",
    "remote_game",
    "segments",
    "sequence",
    "span",
    "token",
]
