"""Servers with OpenAI's interface, asked by the standard library alone."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.text.public import public
from attrfunc.text.remote import ScoreMany

__all__ = ["asked", "completions", "posted"]

# Answers of a server that are worth another try: it is busy, or starting.
_BUSY = {408, 425, 429, 500, 502, 503, 504}


@public
def completions(
    url: str,
    model: str | None = None,
    *,
    key: str | None = None,
    timeout: float = 60.0,
    total: bool = False,
) -> ScoreMany:
    """Ask a server with OpenAI's interface for the log-probabilities of an answer that is given: vLLM, llama.cpp, ...

    It must be one that echoes a prompt with log-probabilities (`echo` and `logprobs` of `/completions`).

    Args:
        url: Where the interface is, up to `/v1`.
        model: The model's name; None for a server of one.
        key: Sent as a bearer token.
        timeout: Seconds that a connection may be silent.
        total: Whether to give the sum over the tokens only.

    Returns:
        What `af.text.remote_game` takes as `score_many`. It raises `ModelError` where a server refuses, or knows no
        log-probabilities.
    """
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ArgumentError("url", describe(url), "an address that begins with http:// or https://", "Add it.")
    place = url.rstrip("/") + "/completions"

    def score_many(prompts: list[str], target: str) -> list[Any]:
        body: dict[str, Any] = {"prompt": [prompt + target for prompt in prompts], "temperature": 0.0}
        body |= {"echo": True, "logprobs": 1, "max_tokens": 1, **({"model": model} if model else {})}
        found = posted(place, body, key, timeout)
        choices = found.get("choices") if isinstance(found, dict) else None
        if not isinstance(choices, list) or len(choices) != len(prompts):
            raise ModelError(
                f"the server gave {len(choices) if isinstance(choices, list) else 'no'} choices for {len(prompts)} "
                "prompts. Take batch_size=1, if it completes one prompt at a time."
            )
        choices = sorted(choices, key=lambda choice: choice.get("index", 0))
        rows = [_of_answer(choice, prompt, target) for choice, prompt in zip(choices, prompts, strict=True)]
        return [sum(row) for row in rows] if total else rows

    return score_many


def posted(place: str, body: dict[str, Any], key: str | None, timeout: float) -> Any:
    """What a server answers to a body of JSON.

    Raises:
        OSError: If it does not answer now; it may be asked again.
        ModelError: If it refuses, or answers no JSON.
    """
    return asked(place, key, timeout, json.dumps(body).encode())


def asked(place: str, key: str | None, timeout: float, body: bytes | None = None) -> Any:
    """What a server answers; see `posted`."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(place, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(300).decode(errors="replace")
        if error.code in _BUSY:
            raise ConnectionError(f"{error.code} {error.reason}") from None
        raise ModelError(f"the server refused the request: {error.code} {error.reason}. It says: {said!r}.") from None
    except http.client.HTTPException as error:
        raise ConnectionError(f"the answer broke off ({error!r})") from None
    except ValueError as error:
        raise ModelError(f"the server at {place} gave no JSON ({error}). Is this the address up to /v1?") from None


def _of_answer(choice: Any, prompt: str, target: str) -> list[float]:
    """The log-probabilities of the answer's tokens, which begin where the prompt ends."""
    logprobs = choice.get("logprobs") if isinstance(choice, dict) else None
    logprobs = logprobs if isinstance(logprobs, dict) else {}
    numbers, tokens = logprobs.get("token_logprobs"), logprobs.get("tokens")
    if not numbers or not tokens or len(numbers) != len(tokens):
        raise ModelError(
            "the server gave no log-probabilities of the prompt. Take one that echoes them (vLLM and llama.cpp do), or "
            "pass remote_game a score_many of your own: how much what the model now says is like the answer."
        )
    starts = logprobs.get("text_offset")
    if not starts or len(starts) != len(tokens):
        ends = [len("".join(tokens[: place + 1])) for place in range(len(tokens))]
        starts = [0, *ends[:-1]]
    first, last = len(prompt), len(prompt) + len(target)
    inside = [place for place, start in enumerate(starts) if first <= start < last]
    if not inside or starts[inside[0]] != first:
        raise ModelError(
            f"the server reads the beginning of the answer {target[:20]!r} together with the end of the prompt "
            f"{prompt[-20:]!r}. Let white space begin the answer and not end the prompt."
        )
    return [numbers[place] for place in inside]
