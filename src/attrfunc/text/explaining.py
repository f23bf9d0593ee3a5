"""`explain`: any method of the library, on any model of language, with all that should be known of the result."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.perturbation.feature_ablation import feature_ablation
from attrfunc.text.answers import answer_ids, token_texts
from attrfunc.text.answers import generate as generated
from attrfunc.text.attribution import TextAttribution
from attrfunc.text.continuation import Continuation, continuation
from attrfunc.text.game import Game, game
from attrfunc.text.gradients import Found, at_embeddings, filler
from attrfunc.text.outputs import Outputs
from attrfunc.text.public import public
from attrfunc.text.readings import Contrast, Reading, log_probabilities, sequence
from attrfunc.text.segments import Segments

__all__ = ["explain"]


DEFAULT = feature_ablation
"""The method of `explain` where none is chosen: the table in benchmarks/results/faithfulness.md decided."""


@public
def explain(
    method: Any = None,
    model: Any = None,
    segments: Any = None,
    target: Any = None,
    *,
    each_token: bool = True,
    score: Any = None,
    absent: Any = None,
    among: bool = False,
    generate: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> TextAttribution:
    """Attribute an answer of a language model to the segments of its prompt: `explain([method,] model, segments)`.

    Without a method, `af.feature_ablation` is taken: what the answer loses without each segment, for n + 2 prompts that
    are read. How it came to be the default is measured in benchmarks/results/faithfulness.md.

    Methods that perturb (those with `feature_mask`) play the game of the prompt, `af.text.game`; all others are taken
    at the embeddings of its tokens. Each token of the answer is attributed, for the passes of one where the method
    perturbs, and with one pass forward for all where it takes gradients.

    Args:
        method: A method of the library, such as `af.shapley_values`, `af.feature_ablation`, `af.ig`, `af.deep_lift`. It
            may be left out, also as the first argument: `explain(model, segments, " Paris.")`. Settings go into
            `options`, or into `functools.partial`; any other function that plays a game itself takes `af.text.game`.
        model: A language model of transformers; or a game, also one of a server (`af.text.remote_game`).
        segments: The prompt; see `af.text.segments`.
        target: The answer, a text or tokens. None lets the model generate one, greedily. For `af.text.outputs` of a
            classifier the class.
        each_token: Whether each token of the answer is attributed, or their sum only.
        score: What is explained: a reading of each token (`af.text.odds`, `logits`, `entropy`), a `contrast(foil)`, or
            a function of the tokens' log-probabilities (`token(t)`, `span(a, b)`).
        absent: What stands for an absent segment; see `af.text.game`, where `"delete"` is the default. For methods that
            take gradients a token or an embedding `(D,)`; by default the token for padding, or of the end.
        among: Whether to tell the influence of earlier tokens of the answer on later ones, too: for games what a later
            one loses where an earlier one is replaced by the token for padding. For methods with a baseline the
            earlier ones are absent there with the prompt.
        generate: What `model.generate` takes where an answer is generated; 25 new tokens at most by default.
        batch_size: Prompts in one pass at most, in games.
        **options: What the method takes besides.

    Returns:
        The attributions, in nats unless `score` says otherwise, with the scores at the prompt and at the baseline, and
        the gap between their difference and what the attributions add up to.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> parts = af.text.segments(tokenizer, "Paris is in France. The capital is", by="word")
        >>> af.text.explain(model, parts).values.shape[1]  # of the answer that the model gives
        7
        >>> found = af.text.explain(af.shapley_values, model, parts, " Paris.")
        >>> found.outputs, found.values.shape, found.evaluations
        ((' Paris', '.'), torch.Size([2, 7]), 128)
        >>> bool(found.gap.abs().max() < 1e-4)
        True
    """
    method, model, segments, target = _arguments(method, model, segments, target)
    perturbs = _perturbs(method, isinstance(model, Game | Outputs))
    for name in {"baseline", "target", "x", "feature_mask"} & set(options):
        raise ArgumentError(name, describe(options[name]), "nothing, since explain gives it", "Use `absent`, `score`.")
    reducer = None if score is None or isinstance(score, Reading | Contrast) else score
    if reducer is not None and not callable(reducer):
        raise ArgumentError(
            "score", describe(score), "a reading, contrast(foil), or a function", "See the documentation."
        )
    reducer = reducer or (None if each_token else sequence)
    if among and (reducer is not None or isinstance(score, Contrast)):
        raise ArgumentError(
            "among", "True", "False where tokens of the answer are not explained one by one", "Drop it."
        )
    if isinstance(model, Game | Outputs):
        return _of_game(method, model, segments, target, reducer, absent, batch_size, options)
    ids = generated(model, segments, **(generate or {})) if target is None else answer_ids(model, segments, target)
    foil = answer_ids(model, segments, score.foil, "foil") if isinstance(score, Contrast) else None
    reading = score if isinstance(score, Reading) else log_probabilities
    labels = token_texts(segments, ids)
    if perturbs:
        function = continuation(model, ids, foil=foil, reading=reading)
        played = game(function, segments, absent="delete" if absent is None else absent, batch_size=batch_size)
        found = _played(method, played, function.columns, reducer, options)
        if among and reducer is None and foil is None:
            found = _with_among(found, function, segments)
    else:
        absent = filler(segments.tokenizer, model) if absent is None else absent
        given: dict[str, Any] = {"target": reducer, "absent": absent, "among": among, "options": options}
        found = _at_embeddings(method, segments, model, ids, foil, reading, given)
    if len(found.values) != len(labels):
        labels = ("".join(labels),)
    return _attribution(method, segments, found, labels, "delete" if absent is None else absent, reading.unit)


def _arguments(method: Any, model: Any, segments: Any, target: Any) -> tuple[Any, Any, Segments, Any]:
    """The arguments in their places: where the method is left out, the others stand one place further ahead."""
    if isinstance(model, Segments):
        if target is not None and segments is not None:
            raise ArgumentError("target", describe(target), "one answer", "Pass explain(model, segments, target).")
        method, model, segments, target = None, method, model, segments if target is None else target
    elif model is None:
        method, model = None, method
    if not isinstance(segments, Segments):
        raise ArgumentError("segments", describe(segments), "segments of a prompt", "Make them: af.text.segments(...).")
    return DEFAULT if method is None else method, model, segments, target


def _perturbs(method: Any, is_played: bool) -> bool:
    """Whether a method plays a game; others take gradients.

    Args:
        method: The method.
        is_played: Whether there is nothing but a game.

    Raises:
        ArgumentError: If it is no method, its signature does not tell, or it takes gradients and there are none.
    """
    if not callable(method):
        raise ArgumentError("method", describe(method), "a method of the library", "For example af.shapley_values.")
    inner = method.func if isinstance(method, functools.partial) else method
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    perturbs = "feature_mask" in parameters
    own = str(getattr(inner, "__module__", "")).startswith("attrfunc.")
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    name = getattr(inner, "__name__", type(inner).__name__)
    if is_played and own and not perturbs:
        fix = "Take one that perturbs, or call this one at af.layer(model, embeddings) itself."
        raise ArgumentError("method", name, "a method that needs no gradient, since a game has none", fix)
    if not is_played and not own and not perturbs and takes_any and not {"baseline", "baselines"} & set(parameters):
        raise ArgumentError(
            "method",
            f"{name}{inspect.signature(method)}, which does not tell whether it plays a game or takes gradients",
            "a method of the library",
            "Settings go into functools.partial(method, ...), or into explain; functools.wraps tells what is wrapped.",
        )
    return perturbs


def _played(method: Any, played: Game, columns: int, reducer: Any, options: dict[str, Any]) -> Found:
    start, full = played.evaluations, played.full
    if reducer is None:  # each token as an example; all of them are read in the same passes
        values = method(played, full.expand(columns, -1), target=torch.arange(columns), **options)
    else:
        values = method(played, full, target=reducer, **options)
    if not isinstance(values, Tensor):
        raise ArgumentError(
            "method",
            f"{getattr(method, '__name__', method)}, which gives {describe(values)}",
            "a method that gives one value for each segment",
            "Call it with the game itself: method(game, game.full, target=...).",
        )
    ends = played(torch.cat([full, ~full]))
    numbers = (ends if reducer is None else reducer(ends)[:, None]).double()
    wide = values.detach().double()
    return Found(wide, torch.zeros(len(wide)).double(), None, numbers[0], numbers[1], played.evaluations - start)


def _of_game(
    method: Any,
    model: Any,
    segments: Segments,
    target: Any,
    reducer: Any,
    absent: Any,
    batch_size: int | None,
    options: dict[str, Any],
) -> TextAttribution:
    """The game of a server, or of a classifier, whose target is an ordinary one."""
    if isinstance(model, Outputs):
        if target is None:
            raise ArgumentError("target", "None", "the class to explain", "Pass target=1, say.")
        played = game(model, segments, absent="delete" if absent is None else absent, batch_size=batch_size)
        column = lambda numbers: numbers[:, target]  # noqa: E731
        found, labels = _played(method, played, 1, column, options), (str(target),)
    else:
        if target is not None or absent is not None:
            raise ArgumentError("target", describe(target), "None, since the game has its answer", "Drop it.")
        played, columns = model, model(model.full).shape[1]
        found = _played(method, played, columns, reducer, options)
        labels = model.names(len(found.values))
    return _attribution(method, segments, found, labels, played.absent, played.unit)


def _at_embeddings(
    method: Any, segments: Segments, model: Any, ids: list[int], foil: Any, reading: Reading, given: dict[str, Any]
) -> Found:
    if foil is None or list(ids[:-1]) == list(foil[:-1]):
        return at_embeddings(method, continuation(model, ids, foil=foil, reading=reading), segments, **given)
    # Two answers are read in two passes; all of these methods are linear in the score.
    if len(ids) != len(foil):
        given = {**given, "target": given["target"] or sequence}
    one, other = (
        at_embeddings(method, continuation(model, who, reading=reading), segments, **given) for who in (ids, foil)
    )
    ends = (one.baseline_scores, other.baseline_scores)
    return Found(
        one.values - other.values,
        one.elsewhere - other.elsewhere,
        None,
        one.scores - other.scores,
        None if ends[0] is None or ends[1] is None else ends[0] - ends[1],
        one.evaluations + other.evaluations,
    )


def _with_among(found: Found, function: Continuation, segments: Segments) -> Found:
    """What each token of the answer loses where an earlier one is replaced."""
    count, rows = len(function.ids), [found.scores]
    for place in range(count - 1):
        fed = function.ids.clone()
        fed[place] = filler(segments.tokenizer, function.model)
        other = Continuation(function.model, function.ids, None, function.reading, fed)
        with torch.no_grad():
            rows.append(other(torch.tensor([segments.ids]))[0].double().cpu())
    losses = torch.zeros(count, count, dtype=torch.float64)
    for place, row in enumerate(rows[1:]):
        losses[place + 1 :, place] = (found.scores - row)[place + 1 :]
    return found._replace(among=losses, evaluations=found.evaluations + count - 1)


def _attribution(
    method: Any, segments: Segments, found: Found, labels: tuple[str, ...], absent: Any, unit: str
) -> TextAttribution:
    inner = method.func if isinstance(method, functools.partial) else method
    offsets = [segments.offsets[place] for place in segments.fixed]
    return TextAttribution(
        values=found.values,
        labels=segments.labels,
        spans=segments.spans,
        text=segments.text,
        outputs=labels,
        scores=found.scores.reshape(-1),
        baseline_scores=None if found.baseline_scores is None else found.baseline_scores.reshape(-1),
        elsewhere=found.elsewhere,
        among=found.among,
        units=segments.units,
        level=segments.by,
        fixed=tuple((a, b) for a, b in offsets),
        method=getattr(inner, "__name__", type(inner).__name__),
        absent=absent if isinstance(absent, str) else describe(absent),
        unit=unit,
        evaluations=found.evaluations,
    )
