"""The game of a prompt: what a model makes of it with some of its segments present."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.text.answers import answer_ids, token_texts
from attrfunc.text.continuation import Continuation, continuation
from attrfunc.text.outputs import Outputs
from attrfunc.text.public import public
from attrfunc.text.readings import Contrast, Reading, log_probabilities
from attrfunc.text.rows import Row, evaluator
from attrfunc.text.running import as_ids, vocabulary
from attrfunc.text.segments import Segments

__all__ = ["Game", "Mask", "game", "scored"]

Mask = tuple[bool, ...]


class Game:
    """A function of presence: booleans `(K, n)` to numbers `(K, T)`; made by `game` and `remote_game`.

    Each coalition is evaluated once, however often it is asked for: estimators are linear, so that the values of all T
    tokens of an answer take the passes of one.

    Attributes:
        segments: The prompt.
        labels: What the T numbers are of: the tokens of the answer, as far as these are known.
        unit: Their unit.
        absent: What stands for a segment that is absent.
        evaluations: How many prompts the model has read so far.
    """

    def __init__(
        self,
        segments: Segments,
        row: Callable[[Mask], Any],
        evaluate: Callable[[Sequence[Any]], Tensor],
        *,
        labels: Sequence[str] = (),
        unit: str = "nats",
        absent: Any = "delete",
    ) -> None:
        self.labels, self.unit, self.absent = tuple(labels), unit, absent
        self.segments, self._row, self._evaluate = segments, row, evaluate
        self._known: dict[Any, Tensor] = {}
        self.evaluations = 0

    @property
    def full(self) -> Tensor:
        """All segments present, `(1, n)`."""
        return self.segments.full

    def names(self, count: int) -> tuple[str, ...]:
        """What so many numbers are of, as far as that is known."""
        if len(self.labels) == count:
            return self.labels
        return ("".join(self.labels),) if count == 1 else tuple(map(str, range(count)))

    def __call__(self, presence: Tensor) -> Tensor:
        """Numbers `(K, T)` of coalitions.

        Args:
            presence: Which segments are present, booleans (or zeros and ones) `(K, n)`.

        Raises:
            ArgumentError: If presence has another shape, or other numbers.
        """
        masks = self._masks(presence)
        rows = {mask: self._row(mask) for mask in dict.fromkeys(masks) if mask not in self._known}
        # Coalitions may make one prompt: of a segment that is the same as what replaces it.
        keyed = {mask: row if isinstance(row, tuple | str) else mask for mask, row in rows.items()}
        new = {key: rows[mask] for mask, key in keyed.items() if key not in self._known}
        if new:
            # Methods watch what a model allocates and writes, to choose how much to evaluate at once; a game chooses by
            # itself, and has to be asked for many coalitions together to do so. torch has no public way to step out of
            # the modes around a call. Another thread would be one, but would lose the caller's autocast, device and
            # stream, and with them silently give other numbers.
            with _disable_current_modes():
                values = self._evaluate(list(new.values())).detach()
            self.evaluations += len(new)
            self._known.update(zip(new, values, strict=True))
        self._known.update({mask: self._known[key] for mask, key in keyed.items()})
        return torch.stack([self._known[mask] for mask in masks])

    def _masks(self, presence: Tensor) -> list[Mask]:
        n = len(self.segments)
        fits = isinstance(presence, Tensor) and presence.dim() == 2 and presence.shape[1] == n and len(presence) > 0
        if not fits or not bool(((presence == 0) | (presence == 1)).all()):
            raise ArgumentError(
                "presence",
                describe(presence),
                f"booleans of shape (K, {n})",
                "A game has no gradient: take a method that perturbs, such as shapley_values, with x=game.full.",
            )
        return [tuple(row) for row in presence.bool().tolist()]


def scored(model: Any, segments: Segments, target: Any, score: Any) -> Any:
    """The function of prompts that a model, an answer and a score make."""
    if isinstance(model, Continuation | Outputs):
        if target is not None:
            raise ArgumentError("target", describe(target), "None, since the model has its answer", "Drop it.")
        return model
    if target is None:
        raise ArgumentError(
            "target",
            "None",
            "an answer, as text or tokens",
            "Pass one; explain(...) lets the model generate it. For a classifier pass af.text.outputs(model).",
        )
    ids = answer_ids(model, segments, target)
    foil = answer_ids(model, segments, score.foil, "foil") if isinstance(score, Contrast) else None
    reading = score if isinstance(score, Reading) else log_probabilities
    return continuation(model, ids, foil=foil, reading=reading)


@public
def game(
    model: Any,
    segments: Segments,
    target: Any = None,
    *,
    score: Reading | Contrast | None = None,
    absent: Any = "delete",
    batch_size: int | None = None,
    share: bool | None = None,
) -> Game:
    """The log-probabilities of an answer as a game whose players are the segments of the prompt.

    Methods that perturb take it as their model. It runs without gradients, so that quantised models and models that are
    spread over devices are taken as they are. Coalitions are evaluated once each, in batches of like lengths, or one by
    one behind keys and values of the beginnings that they share, whichever reads fewer tokens.

    Args:
        model: A language model of transformers, an `af.text.continuation`, or `af.text.outputs` of a classifier.
        segments: The prompt.
        target: The answer, a text or tokens; None for a model that has one, or is a classifier.
        score: What is read at each token: log-probabilities by default; `af.text.odds`, `entropy`, `logits`,
            `contrast(foil)`.
        absent: What becomes of a segment that is absent. `"delete"`: its tokens are left out, and the others move up.
            `"mask"`: nothing attends to them, and the others stay where they are. An integer: each of its tokens
            becomes this one. Texts, one for each segment: the prompt is rendered and read anew with these in their
            places. `"render"`: the same with nothing in their places (chat templates are rendered again). A function
            of presence (n booleans): it gives the text, the tokens, or a dict of what the model takes by name, images
            among it.
        batch_size: Prompts in one pass at most.
        share: Whether keys and values of common beginnings are kept, in place of batches; None to choose. What is
            shared is exact up to rounding: it is compared once with the plain way.

    Returns:
        A function of presence, `(K, n)` to `(K, T)`.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> parts = af.text.segments(tokenizer, "Paris is in France. The capital is", by="word")
        >>> says = af.text.game(model, parts, " Paris.")
        >>> af.shapley_values(says, says.full, target=af.text.sequence).shape
        torch.Size([1, 7])
        >>> tokens = says.full.expand(2, -1)  # each token of the answer as an example, for the same passes
        >>> af.shapley_values(says, tokens, target=torch.arange(2)).shape
        torch.Size([2, 7])
    """
    if not isinstance(segments, Segments):
        raise ArgumentError("segments", describe(segments), "segments of a prompt", "Make them: af.text.segments(...).")
    if batch_size is not None:
        positive("batch_size", batch_size)
    function = scored(model, segments, target, score)
    labels: tuple[str, ...] = ()
    unit = "logits"
    if isinstance(function, Continuation):
        labels, unit = token_texts(segments, function.ids.tolist()), function.reading.unit
        labels = labels if len(labels) == function.columns else ("".join(labels),)
    known = vocabulary(function.model) if isinstance(function, Continuation | Outputs) else None
    if isinstance(absent, int) and not isinstance(absent, bool):
        as_ids([absent], "absent", size=known)
    evaluate = evaluator(function, batch_size, share)
    return Game(segments, _rows(segments, absent), evaluate, labels=labels, unit=unit, absent=absent)


def _rows(segments: Segments, absent: Any) -> Callable[[Mask], Any]:
    """What is read in a coalition."""
    if callable(absent):
        return lambda mask: _rendered(segments, absent(torch.tensor(mask)))
    if isinstance(absent, int) and not isinstance(absent, bool):
        return lambda mask: Row(tuple(_replaced(segments, mask, absent)))
    if isinstance(absent, str) and absent in ("delete", "mask", "render"):
        if absent == "render":
            return lambda mask: _filled(segments.encode(segments.render(mask)))
        if absent == "delete":
            return lambda mask: _filled(segments.present(mask))
        _require_last(segments)
        return lambda mask: Row(segments.ids, tuple(not here for here in segments.kept(mask)))
    if isinstance(absent, list | tuple) and len(absent) == len(segments) and all(isinstance(t, str) for t in absent):
        return lambda mask: _filled(segments.encode(segments.render(mask, absent)))
    raise ArgumentError(
        "absent",
        describe(absent),
        f'"delete", "mask", "render", a token, {len(segments)} texts, or a function of presence',
        "See what each of these does in the documentation of af.text.game.",
    )


def _replaced(segments: Segments, mask: Mask, token: int) -> list[int]:
    kept = segments.kept(mask)
    return [one if here else token for one, here in zip(segments.ids, kept, strict=True)]


def _filled(ids: Sequence[int]) -> Row:
    if not ids:
        raise ArgumentError(
            "segments",
            "a prompt of which a coalition leaves nothing",
            "something that is always there",
            'Hold something fixed: segments(..., fixed="special"), or take absent=token.',
        )
    return Row(tuple(ids))


def _require_last(segments: Segments) -> None:
    if segments.owners[-1] >= 0:
        raise ArgumentError(
            "absent",
            '"mask", for a prompt whose last token is in a segment',
            "a last token that is fixed, since the answer is read from its place",
            'Take absent="delete", or segments(..., fixed="special").',
        )


def _rendered(segments: Segments, made: Any) -> Any:
    if isinstance(made, str):
        return _filled(segments.encode(made))
    if isinstance(made, Mapping):
        return made
    return _filled(tuple(int(token) for token in torch.as_tensor(made).flatten()))
