"""Answers: which tokens follow the prompt."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.text.public import public
from attrfunc.text.running import as_ids, device_of, is_encoder_decoder, limit, vocabulary
from attrfunc.text.segments import Segments

__all__ = ["answer_ids", "generate", "token_texts"]


def answer_ids(model: Any, segments: Segments, answer: Any, argument: str = "target") -> list[int]:
    """The tokens of an answer.

    Args:
        model: The model that gives it.
        segments: The prompt.
        answer: A text, or tokens.
        argument: The argument's name, for errors.

    Raises:
        ArgumentError: If it is empty, or the tokenizer reads the end of the prompt otherwise where the text follows it.
    """
    if not isinstance(answer, str):
        return as_ids(answer, argument, size=vocabulary(model)).tolist()
    if not answer:
        raise ArgumentError(argument, "an empty text", "a text that follows the prompt", "Pass what the model said.")
    alone = tuple(segments.tokenizer(answer, add_special_tokens=False)["input_ids"])
    if is_encoder_decoder(model):
        return as_ids(alone, argument).tolist()
    joint, length = segments.encode(segments.text + answer), len(segments.ids)
    if joint[:length] == segments.ids and len(joint) > length:
        return list(joint[length:])
    bare = segments.tokenizer(segments.text, add_special_tokens=False)["input_ids"]
    if segments.ids[-len(bare) :] != tuple(bare):
        return as_ids(alone, argument).tolist()  # the tokenizer ends texts with a token of its own
    tail = segments.tokenizer.decode(list(joint[-len(alone) - 1 :]))
    raise ArgumentError(
        argument,
        f"{answer!r}, of which the tokenizer reads the beginning together with the end of the prompt ({tail!r})",
        "a text that continues the prompt",
        "Let white space begin the answer and not end the prompt, or pass tokens.",
    )


@public
def generate(model: Any, segments: Segments, **options: Any) -> list[int]:
    """The tokens with which a model continues a prompt: greedily, 25 at most, unless said otherwise.

    Args:
        model: A language model of transformers, whose own settings are left as they are.
        segments: The prompt.
        **options: What `model.generate` takes; `seed` makes draws reproducible, and torch's own state is not moved.

    Returns:
        The tokens, without that of the end.

    Raises:
        ArgumentError: If the model cannot generate, or says nothing.
    """
    if not hasattr(model, "generate"):
        raise ArgumentError("target", "None", "an answer, since the model cannot generate one", "Pass a text.")
    given = {
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
        **_room(model, segments, options),
        **options,
    }
    seed = given.pop("seed", 0)
    config = copy.deepcopy(model.generation_config)  # the model's own is left as it is
    config.update(**given)
    if config.pad_token_id is None:
        config.pad_token_id = segments.tokenizer.pad_token_id or 0
    if not given["do_sample"]:  # which transformers would warn of
        config.temperature = config.top_p = config.top_k = None
    if given["num_beams"] == 1:
        config.early_stopping, config.length_penalty = False, 1.0
    ids = torch.tensor([segments.ids], device=device_of(model))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    made = getattr(made, "sequences", made)
    start = 1 if is_encoder_decoder(model) else ids.shape[1]
    ends = config.eos_token_id
    ends = set(ends) if isinstance(ends, list | tuple) else {ends}
    said = made[0, start:].tolist()
    while said and said[-1] in ends:
        said.pop()
    if not said:
        got = f"a model that says nothing after {segments.text[-40:]!r}"
        raise ArgumentError("target", got, "an answer", f"Pass one. ({describe(given)})")
    return said


def _room(model: Any, segments: Segments, options: dict[str, Any]) -> dict[str, int]:
    """How many new tokens there may be: 25, or as many as there is room for."""
    most, ends = (None, False) if is_encoder_decoder(model) else limit(model)
    asked = options.get("max_new_tokens")
    left = most - len(segments.ids) if most is not None and ends else None
    if left is not None and left < (asked or 1):
        got = f"a prompt of {len(segments.ids)} tokens, which leaves room for {max(left, 0)}"
        fix = "Shorten the prompt, or pass a smaller max_new_tokens."
        raise ArgumentError("segments", got, f"at most {most} tokens with an answer of {asked or 1}", fix)
    return {"max_new_tokens": 25 if left is None else min(25, left)} if "max_length" not in options else {}


def token_texts(segments: Segments, ids: Sequence[int]) -> tuple[str, ...]:
    """The tokens of an answer as texts that together are the answer."""
    decode, said = segments.tokenizer.decode, ""
    made: list[str] = []
    for count in range(1, len(ids) + 1):
        whole = decode(list(ids[:count]))
        # Of a sign that several tokens make up, the last one has it.
        is_whole = count == len(ids) or not whole.endswith("\ufffd")
        part = whole[len(said) :] if whole.startswith(said) and is_whole else ""
        made.append(part)
        said += part
    return tuple(made)
