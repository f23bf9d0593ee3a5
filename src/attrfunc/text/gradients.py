"""Methods that take gradients, at the embeddings of a prompt's tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, warn
from attrfunc.core.score.baseline import activation_baseline
from attrfunc.core.score.views import View, layer
from attrfunc.gradient.completeness import score_change
from attrfunc.text.continuation import Continuation
from attrfunc.text.running import device_of, is_encoder_decoder
from attrfunc.text.segments import Segments
from attrfunc.text.trial import require_causal

__all__ = ["Found", "at_embeddings", "embedding_name", "filler"]

# Tokens of an answer whose gradients are taken at once: with more, what goes back does not fit the cache.
AT_ONCE = 8
# Tokens of all points that are evaluated at once, on a processor, for one number and for each token of an answer.
# (SmolLM2, 22 tokens: 11 rows take .16 s each with their gradients, 4 rows .19, one .38.)
CPU_TOKENS, CPU_TOKENS_EACH = 256, 96


class Found(NamedTuple):
    """What a method gave.

    Attributes:
        values: To the segments, `(T, n)`.
        elsewhere: To the other places, `(T,)`.
        among: To the tokens of the answer, `(T, T)`.
        scores: At the prompt, `(T,)`.
        baseline_scores: At the baseline, `(T,)`, or None.
        evaluations: Prompts that were read.
    """

    values: Tensor
    elsewhere: Tensor
    among: Tensor | None
    scores: Tensor
    baseline_scores: Tensor | None
    evaluations: int


def filler(tokenizer: Any, model: Any = None) -> int:
    """The token that stands for what is absent, unless another one is chosen.

    Args:
        tokenizer: The tokenizer.
        model: Where its embeddings are looked at: a row of zeros is no token that the model has learned, and at zero
            norms have slopes of a thousand.
    """
    table = getattr(embeddings(model), "weight", None) if model is not None else None
    table = None if table is None or table.device.type == "meta" else table
    found: list[int] = []
    for name in ("pad_token_id", "mask_token_id", "eos_token_id", "unk_token_id"):
        token = getattr(tokenizer, name, None)
        if isinstance(token, int):
            found.append(token)
    known = [token for token in found if table is None or (token < len(table) and bool(table[token].any()))]
    return (known or found or [0])[0]


def embeddings(model: Any) -> Any:
    """The layer that turns the tokens of a prompt into vectors; None if the model does not tell."""
    reader = model.get_encoder() if is_encoder_decoder(model) else model
    return reader.get_input_embeddings() if hasattr(reader, "get_input_embeddings") else None


def embedding_name(model: Any) -> str:
    """The name of the layer that turns tokens into vectors.

    Raises:
        ArgumentError: If the model does not tell.
    """
    found = embeddings(model)
    for name, module in model.named_modules() if found is not None else ():
        if module is found:
            return str(name)
    raise ArgumentError(
        "model",
        f"a {type(model).__name__} whose embeddings are not known",
        "a model with get_input_embeddings()",
        "Call the method itself at af.layer(af.text.continuation(model, ids), name of the embeddings).",
    )


def at_embeddings(
    method: Callable[..., Any],
    function: Continuation,
    segments: Segments,
    *,
    target: Any,
    absent: Any,
    among: bool,
    options: dict[str, Any],
) -> Found:
    """Attribute an answer to the embeddings of the prompt's tokens, summed over each segment.

    Args:
        method: The method.
        function: The model with its answer.
        segments: The prompt.
        target: None for each token, or a function of the numbers `(rows, T)`.
        absent: The token, or the embedding `(D,)`, that stands for what is absent.
        among: Whether the answer's own tokens are absent at the baseline, too.
        options: What the method takes besides.
    """
    name, takes = embedding_name(function.model), _parameters(method)
    view = layer(function, f"model.{name}", call=0 if function.encodes else None)
    ids = torch.tensor([segments.ids], device=device_of(function.model))
    length, count = ids.shape[1], len(function.ids)
    replaced, empty = _baseline(function, segments, ids, absent, among)
    given = dict(options)
    if "baseline" in takes:
        given["baseline"] = activation_baseline(empty) if empty is not None else replaced
    elif "baselines" in takes and "baselines" not in given:
        given["baselines"] = replaced
    compares = "baseline" in takes or "baselines" in takes
    if "chunk_size" in takes and ids.device.type == "cpu":
        tokens = CPU_TOKENS if target is not None or count == 1 else CPU_TOKENS_EACH
        given.setdefault("chunk_size", max(2, tokens // (length + count)))
    require_causal(function, ids)
    start = function.counter.rows
    with torch.no_grad():
        numbers = [_numbers(function, ids, target)]
        if compares:
            numbers.append(_baseline_numbers(function, view, ids, replaced, empty, target))
    if target is not None:
        raw = method(view, ids, target=target, **given)
    elif count == 1:
        raw = method(view, ids, target=0, **given)
    else:
        raw = _each(lambda number: method(view, ids, target=number, **given)[0], function.columns, ids.device)
    each = raw.detach().cpu().double().sum(-1)  # (T, places), over the dimensions of embeddings
    values, rest = _by_segment(each, segments)
    inside = None
    if among and not function.encodes and target is None:
        inside = torch.zeros(len(each), count, dtype=each.dtype)
        inside[:, :-1] = each[:, length : length + count - 1]
    baseline_scores = numbers[1] if compares else None
    if baseline_scores is not None:
        _warn_of_zero(function, absent, values, numbers[0] - baseline_scores)
    return Found(values, rest, inside, numbers[0], baseline_scores, function.counter.rows - start)


def _each(one: Callable[[Any], Tensor], count: int, device: torch.device) -> Tensor:
    """A function of each token of the answer: of several at once, or one by one, where torch cannot map the model."""
    try:
        return torch.vmap(one, chunk_size=AT_ONCE)(torch.arange(count, device=device))
    except ModelError:  # what is wrong with the model otherwise is said again
        return torch.stack([one(number) for number in range(count)])


def _parameters(method: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(method).parameters)
    except (TypeError, ValueError):
        return frozenset({"baseline"})


def _baseline(
    function: Continuation, segments: Segments, ids: Tensor, absent: Any, among: bool
) -> tuple[Tensor, Tensor | None]:
    """The prompt with all segments replaced, as tokens, and as embeddings where tokens cannot tell them."""
    free = torch.tensor([[owner >= 0 for owner in segments.owners]], device=ids.device)
    table = embeddings(function.model)
    is_token = isinstance(absent, int) and not isinstance(absent, bool)
    if not is_token and not (isinstance(absent, Tensor) and absent.dim() == 1):
        raise ArgumentError(
            "absent",
            describe(absent),
            "a token or an embedding (D,), for a method that takes gradients",
            "Pass an integer, such as tokenizer.pad_token_id, or a method that perturbs.",
        )
    _require_known(table, absent)
    replaced = ids.masked_fill(free, absent) if is_token else ids
    if is_token and not (among and len(function.ids) > 1 and not function.encodes):
        return replaced, None
    said = function.ids[:-1].to(ids.device)[None] if not function.encodes else ids[:, :0]
    whole, mask = torch.cat([ids, said], 1), torch.cat([free, torch.full_like(said, among, dtype=torch.bool)], 1)
    with torch.no_grad():
        embedded = table(whole)
        other = table(torch.tensor(absent, device=ids.device)) if is_token else absent.to(embedded)
        return replaced, torch.where(mask[..., None], other, embedded)


def _require_known(table: Any, absent: Any) -> None:
    """Check that a token, or an embedding, is one that a model may have."""
    if not hasattr(table, "weight"):
        return
    rows, width = table.weight.shape
    known = f"a token from 0 to {rows - 1}, or an embedding of {width} numbers"
    if isinstance(absent, int) and not 0 <= absent < rows:
        raise ArgumentError("absent", f"the token {absent}", known, "Pass tokenizer.eos_token_id, say.")
    if isinstance(absent, Tensor) and len(absent) != width:
        got = f"an embedding of {len(absent)} numbers"
        raise ArgumentError("absent", got, known, "Take a row of the model's own embeddings.")


def _warn_of_zero(function: Continuation, absent: Any, values: Tensor, change: Tensor) -> None:
    """Tell why attributions are large, and cancel, from an embedding of zeros."""
    row = absent if isinstance(absent, Tensor) else embeddings(function.model).weight[absent]
    if not bool(row.any()) and float(values.abs().sum()) > 100 * float(change.abs().sum()):
        warn(
            "the embedding that stands for what is absent is zero, where a norm's slope is a thousand times as large "
            "as elsewhere: attributions are large, cancel, and lose their digits. Pass another one as `absent`, a "
            "token (tokenizer.eos_token_id, say)."
        )


def _numbers(function: Continuation, ids: Tensor, target: Any) -> Tensor:
    numbers = function(ids)
    return (numbers[0] if target is None else target(numbers)).cpu().double()


def _baseline_numbers(
    function: Continuation, view: View, ids: Tensor, replaced: Tensor, empty: Tensor | None, target: Any
) -> Tensor:
    """The scores at the baseline, of tokens or of embeddings."""
    if empty is None:
        return _numbers(function, replaced, target)
    baseline = activation_baseline(empty)
    if target is not None:
        change = score_change(view, ids, baseline=baseline, target=target)
    else:
        change = _each(lambda t: score_change(view, ids, baseline=baseline, target=t)[0], function.columns, ids.device)
    return _numbers(function, ids, target) - change.cpu().double()


def _by_segment(each: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """The values of places `(T, L)` as those of segments `(T, n)`, and the sum of all others `(T,)`."""
    owners = torch.tensor(segments.owners)
    owned = (owners >= 0).nonzero()[:, 0]
    values = each.new_zeros(len(each), len(segments)).index_add(1, owners[owned], each[:, owned])
    return values, each.sum(1) - values.sum(1)
