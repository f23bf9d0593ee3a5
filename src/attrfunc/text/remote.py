"""Games of models behind a server: prompts go out at once, and what comes back is checked."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, AttributionError, ModelError, describe, positive
from attrfunc.text.answers import token_texts
from attrfunc.text.game import Game, Mask
from attrfunc.text.public import public
from attrfunc.text.segments import Segments

__all__ = ["ScoreMany", "concurrently", "remote_game"]

ScoreMany = Callable[[list[str], str], Sequence[Any]]
"""Prompts and an answer to what the answer scores after each prompt: a number, or one for each of its tokens."""

# Seconds before a request is sent again; twice as many each time.
FIRST_PAUSE = 0.2


@public
def remote_game(
    score_many: ScoreMany,
    segments: Segments,
    target: str,
    *,
    workers: int = 8,
    absent: Any = "render",
    batch_size: int = 1,
    timeout: float = 300.0,
    retries: int = 2,
    unit: str = "nats",
) -> Game:
    """The game of a prompt for a model that is asked by text: behind a server, in another process, or anything else.

    Each coalition's prompt is sent once, `workers` requests at a time.

    Args:
        score_many: `(prompts, target)` to one entry for each prompt: the log-probabilities of the target's T tokens, or
            a number, such as how much an answer that was generated is like the target. `af.text.completions` makes one
            of a server with OpenAI's interface. It is called in threads.
        segments: The prompt.
        target: The answer.
        workers: Requests at a time.
        absent: What becomes of an absent segment: `"render"` leaves its text out; or texts, one for each segment; or a
            function of presence (n booleans) to the prompt as text.
        batch_size: Prompts of one request.
        timeout: Seconds after which a request is given up.
        retries: How often one that failed to connect or to answer (`OSError`, of which time-outs are a kind) is sent
            again.
        unit: What the numbers are in.

    Returns:
        A function of presence, `(K, n)` to `(K, T)`, which `af.text.explain` takes as a model, too.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: When it is called, if a request fails after all tries, or what comes back is not what was asked for.
    """
    if not callable(score_many):
        raise ArgumentError("score_many", describe(score_many), "a function of prompts and an answer", "See its type.")
    if not isinstance(segments, Segments):
        raise ArgumentError("segments", describe(segments), "segments of a prompt", "Make them: af.text.segments(...).")
    if not isinstance(target, str) or not target:
        raise ArgumentError("target", describe(target), "the answer, as a text", "Pass what the model said.")
    if not (isinstance(timeout, int | float) and timeout > 0):
        raise ArgumentError("timeout", describe(timeout), "a positive number of seconds", "Pass timeout=60, say.")
    if not isinstance(retries, int) or retries < 0:
        raise ArgumentError("retries", describe(retries), "a whole number of at least 0", "Pass retries=2, say.")
    sizes = positive("workers", workers), positive("batch_size", batch_size)
    row = _texts(segments, absent)

    def request(prompts: list[str]) -> list[list[float]]:
        return _checked(_tried(lambda: score_many(list(prompts), target), retries), len(prompts))

    def evaluate(prompts: Sequence[str]) -> Tensor:
        parts = [list(prompts[start : start + sizes[1]]) for start in range(0, len(prompts), sizes[1])]
        # A request is tried several times, and waits in between.
        most = (timeout + FIRST_PAUSE * 2**retries) * (retries + 1)
        answers = concurrently(request, parts, sizes[0], timeout, most)
        rows = [entry for answer in answers for entry in answer]
        _require_even(rows, prompts)
        return torch.tensor(rows, dtype=torch.float64)

    # The server may read the answer as other tokens; if they are as many, these are their names.
    labels = token_texts(segments, segments.tokenizer(target, add_special_tokens=False)["input_ids"])
    said = absent if isinstance(absent, str) else "texts"
    return Game(segments, row, evaluate, labels=labels, unit=unit, absent=said)


def _texts(segments: Segments, absent: Any) -> Callable[[Mask], str]:
    if absent == "render":
        return segments.render
    if callable(absent):
        return lambda mask: _text(absent(torch.tensor(mask)))
    if isinstance(absent, list | tuple) and len(absent) == len(segments) and all(isinstance(t, str) for t in absent):
        return lambda mask: segments.render(mask, absent)
    raise ArgumentError(
        "absent",
        describe(absent),
        f'"render", {len(segments)} texts, or a function of presence to a text',
        "A server reads text: tokens cannot be hidden from it.",
    )


def _text(made: Any) -> str:
    if not isinstance(made, str):
        raise ArgumentError("absent", f"a function that gives {describe(made)}", "one that gives a text", "Render it.")
    return made


def _tried(call: Callable[[], Any], retries: int) -> Any:
    """What a call gives, tried again where it fails to connect or to answer."""
    for attempt in range(retries + 1):
        try:
            return call()
        except OSError as error:  # time-outs and broken connections
            if attempt == retries:
                raise ModelError(
                    f"the server did not answer after {retries + 1} tries: {type(error).__name__}: {error}. See that "
                    "it runs, or raise `timeout` and `retries`, or lower `workers`."
                ) from error
            time.sleep(FIRST_PAUSE * 2**attempt)
    raise AssertionError


def concurrently(
    function: Callable[[Any], Any], arguments: Sequence[Any], workers: int, timeout: float, most: float
) -> list[Any]:
    """What a function gives for each argument, by several threads; the first error ends all.

    The threads do not keep the interpreter alive, so that a request that never ends hangs nothing.
    """
    waiting: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    stopped = threading.Event()
    for entry in enumerate(arguments):
        waiting.put(entry)

    def work() -> None:
        while not stopped.is_set():
            try:
                number, argument = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, function(argument), None))
            except BaseException as error:  # it is raised where the game was called
                done.put((number, None, error))
                return

    for _ in range(min(workers, len(arguments))):
        threading.Thread(target=work, daemon=True).start()
    found: list[Any] = [None] * len(arguments)
    try:
        for _ in arguments:
            try:
                number, value, error = done.get(timeout=most)
            except queue.Empty:
                raise ModelError(
                    f"a request took more than {timeout:g} seconds. Raise `timeout`, or let score_many give up sooner."
                ) from None
            if error is not None:
                raise error if isinstance(error, AttributionError) else _failed(error) from error
            found[number] = value
    finally:
        stopped.set()
    return found


def _failed(error: BaseException) -> ModelError:
    return ModelError(
        f"score_many raised {type(error).__name__}: {error}. Call it by itself on one prompt to see where."
    )


def _checked(answers: Any, count: int) -> list[list[float]]:
    """One list of numbers for each prompt."""
    try:
        rows = [_numbers(entry) for entry in answers]
    except (TypeError, ValueError, RuntimeError):
        raise ModelError(
            f"score_many gave {describe(answers)}; expected one number, or a list of them, for each prompt."
        ) from None
    if len(rows) != count:
        raise ModelError(
            f"score_many gave {len(rows)} answers to {count} prompts. Let it answer each of them, in their order."
        )
    for row in rows:
        if not row or not all(map(math.isfinite, row)):
            raise ModelError(
                f"score_many gave {row} for a prompt; expected finite numbers. A first token without a log-probability "
                "is one of the prompt: leave those of the prompt out."
            )
    return rows


def _numbers(entry: Any) -> list[float]:
    if isinstance(entry, Tensor):
        return [float(number) for number in entry.flatten().tolist()]
    if isinstance(entry, str | bytes | dict):
        raise TypeError
    return [float(number) for number in entry] if hasattr(entry, "__iter__") else [float(entry)]


def _require_even(rows: Sequence[Sequence[float]], prompts: Sequence[str]) -> None:
    counts = {len(row) for row in rows}
    if len(counts) > 1:
        odd = next(number for number, row in enumerate(rows) if len(row) != len(rows[0]))
        raise ModelError(
            f"the answer has {len(rows[0])} numbers after {prompts[0][-40:]!r} and {len(rows[odd])} after "
            f"{prompts[odd][-40:]!r}: the server reads it as other tokens there. Give one number, their sum "
            "(completions(..., total=True)), or begin the answer with white space."
        )
