"""How a transformers model is called: padding, positions, masks, and what its forward takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.guard import Written
from attrfunc.core.model.twin import Twin

__all__ = [
    "as_ids",
    "device_of",
    "is_encoder_decoder",
    "kept_logits",
    "limit",
    "padded",
    "positions",
    "require_language",
    "takes",
    "takes_places",
    "to_left",
    "vocabulary",
]


def takes(model: Callable[..., Any]) -> frozenset[str]:
    """The names of what a model's forward takes; also of one that was wrapped in a function of anything."""
    wrapped = getattr(model, "get_base_model", None)  # of adapters, which hand on what they do not name
    forwards = [model.forward, type(model).forward] if isinstance(model, nn.Module) else [model]
    names: set[str] = set()
    for forward in [*forwards, *([wrapped().forward] if callable(wrapped) else [])]:
        try:
            names |= set(inspect.signature(forward).parameters)
        except (TypeError, ValueError):
            continue
    if isinstance(model, nn.Module) and not named(names) and _takes_any(model.forward):
        for part in model.children():  # compiled, parallel and other wrappers hand on all
            inner = takes(part)
            names |= inner if named(inner) else set()
    return frozenset(names - {"self"})


def named(names: Iterable[str]) -> bool:
    """Whether tokens are among what a forward takes."""
    return not {"input_ids", "decoder_input_ids"}.isdisjoint(names)


def vocabulary(model: Any) -> int | None:
    """How many tokens a model knows; None if it does not tell."""
    config = getattr(model, "config", None)
    sizes = (getattr(one, "vocab_size", None) for one in (config, getattr(config, "text_config", None)))
    return next((size for size in sizes if isinstance(size, int)), None)


def require_language(model: Any) -> None:
    """Refuse what cannot continue a text.

    Raises:
        ArgumentError: If it is no model of that kind.
    """
    expected = "a language model, which reads tokens by the name of input_ids and tells what follows"
    if not callable(model):
        raise ArgumentError("model", describe(model), expected, "Pass AutoModelForCausalLM's.")
    if type(model).__name__.endswith("ForMaskedLM"):  # it would see the answer that it is asked for
        fix = "For what it says at its mask pass af.text.outputs(model, at=tokenizer.mask_token_id)."
        raise ArgumentError("model", f"a {type(model).__name__}, which looks ahead", expected, fix)
    names, forward = takes(model), model.forward if isinstance(model, nn.Module) else model
    if names and not named(names) and not _takes_any(forward):
        got = f"a {type(model).__name__}, which takes {', '.join(sorted(names))}"
        raise ArgumentError(
            "model", got, expected, "Pass AutoModelForCausalLM's, or wrap it in a function of input_ids."
        )


def _takes_any(forward: Callable[..., Any]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(forward).parameters.values())


def is_encoder_decoder(model: Any) -> bool:
    """Whether the prompt is read by an encoder and the answer made by a decoder."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def device_of(model: Any) -> torch.device:
    """Where a model takes its tokens: with a device map, where its embeddings are."""
    embeddings = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else model
    for tensor in embeddings.parameters() if isinstance(embeddings, nn.Module) else ():
        if tensor.device.type != "meta":
            return tensor.device
    return torch.device("cpu")


def limit(model: Any) -> tuple[int | None, bool]:
    """How many tokens a model was made for, None if that is not known; and whether it cannot read more.

    It cannot if it looks its positions, or its masks, up in a table of that length. Rotary positions, and biases by
    distance, go on.
    """
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", config)
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most <= 0:
        return None, False
    if not isinstance(model, nn.Module):
        return most, True
    getter: Any = getattr(model, "get_input_embeddings", None)
    tokens = None if getter is None else getter()
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding) and module is not tokens)
    # Some begin behind the places of padding.
    is_table = any(most <= table.num_embeddings <= most + 2 for table in tables)
    return most, is_table or any(held.dim() > 1 and most in held.shape for held in model.buffers())


def as_ids(ids: Any, argument: str, *, size: int | None = None) -> Tensor:
    """Tokens as a tensor `(T,)`.

    Args:
        ids: Integers, in a tensor or a sequence; `(1, T)`, too.
        argument: The argument's name, for errors.
        size: How many tokens the model knows.

    Raises:
        ArgumentError: If they are no tokens, none, or unknown to the model.
    """
    expected = "at least one token, as a sequence of integers"
    try:
        made = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(argument, describe(ids), expected, "Pass tokenizer(text).input_ids.") from None
    made = made[0] if made.dim() == 2 and len(made) == 1 else made
    if made.numel() == 0:
        raise ArgumentError(argument, "no tokens", expected, "Pass a text that is not empty.")
    if made.dim() != 1 or made.is_floating_point() or made.is_complex() or made.dtype == torch.bool:
        raise ArgumentError(argument, describe(ids), expected, "Pass tokenizer(text).input_ids.")
    if size is not None and not 0 <= int(made.min()) <= int(made.max()) < size:
        got = f"tokens from {int(made.min())} to {int(made.max())}"
        raise ArgumentError(
            argument, got, f"tokens from 0 to {size - 1}, which the model knows", "Take the model's own tokenizer."
        )
    return made.long().cpu()


def padded(rows: Sequence[Sequence[int]], *, left: bool, filler: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of several lengths as one batch `(rows, L)`, and the mask of what is not padding.

    Args:
        rows: The tokens of each row.
        left: Whether the padding is on the left.
        filler: The token in the padding; nothing reads it.
    """
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), filler)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(length - len(row), length) if left else slice(0, len(row))
        ids[number, place] = torch.as_tensor(row, dtype=torch.long)
        mask[number, place] = 1
    return ids, mask


def to_left(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same rows with all of their padding on the left: what is not padding keeps its order."""
    order = mask.bool().long().argsort(dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)


def positions(mask: Tensor) -> Tensor:
    """The position of each token among those that are not padding."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def takes_places(model: Any) -> bool:
    """Whether a model can be asked for the logits of places that a tensor tells."""
    forward = model.forward if isinstance(model, nn.Module) else model
    try:
        asked = inspect.signature(forward).parameters.get("logits_to_keep")
    except (TypeError, ValueError):
        return False
    return asked is not None and "Tensor" in str(asked.annotation)


def kept_logits(names: frozenset[str], count: int, places: Tensor | None = None) -> dict[str, Any]:
    """What asks a model for the logits of its last places only, where it can be asked.

    Args:
        names: What its forward takes.
        count: How many.
        places: The same places as a tensor, where the model takes one: what is chosen by it is one block in memory,
            which is multiplied by the vocabulary's matrix once. For a slice torch does so row by row, which takes
            several times as long.
    """
    if places is not None:
        return {"logits_to_keep": places}
    for name in ("logits_to_keep", "num_logits_to_keep"):
        if name in names:
            return {name: count}
    return {}


def cached(given: Mapping[str, Any], cache: Any, names: frozenset[str]) -> dict[str, Any]:
    """What a model takes of one prompt when keys and values of its beginning are known.

    Args:
        given: What it takes of the whole prompt.
        cache: Keys and values of its first tokens, which grows.
        names: What the model's forward takes: later versions of transformers renamed the cache.
    """
    past = cache.get_seq_length()
    rest = {name: given[name][:, past:] for name in ("input_ids", "position_ids") if name in given}
    return {**given, **rest, "cache" if "cache" in names else "past_key_values": cache, "use_cache": True}


def stateless(model: Any) -> Callable[..., Any]:
    """A function that gives what a module gives, from the same state at every call, and never writes to it.

    A model that is spread over devices, or quantised, runs as it is: what its libraries keep is theirs to handle.
    """
    spread = getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False)
    if spread or not isinstance(model, nn.Module):
        return model
    twin = Twin(model)

    def call(*args: Any, **kwargs: Any) -> Any:
        while True:
            twin.restore()
            try:
                return twin.run(args, kwargs)
            except Written:  # it starts anew, with a copy of what it was about to write into
                continue

    return call
