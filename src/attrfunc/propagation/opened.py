"""Operations that are interpreted as what they compute, written out in simpler ones."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attrfunc.core.model.attention import plain_attention
from attrfunc.propagation.names import Key
from attrfunc.propagation.opened_norms import NORMS, vector_norm
from attrfunc.propagation.operation import UnknownOperationError
from attrfunc.propagation.recurrent import RECURRENT, gated
from attrfunc.propagation.rule_book import Opened, Rule
from attrfunc.propagation.softmax import implicit_dim

__all__ = ["OPENED", "from_source"]


def from_source(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of `torch.nn.functional` that is written in Python, as a plain one that modes see into.

    torch's functions hand themselves over whole to a mode, before their body runs; the copy does not ask.
    """
    asks = {name: lambda *_: False for name in function.__globals__ if name.startswith("has_torch_function")}
    plain = types.FunctionType(
        function.__code__, {**function.__globals__, **asks}, function.__name__, function.__defaults__
    )
    plain.__kwdefaults__ = function.__kwdefaults__
    return plain


def layer_norm(
    input: Tensor,  # noqa: A002  # torch's name
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    spread_of: Tensor | None = None,
) -> Tensor:
    """`torch.nn.functional.layer_norm`; `spread_of` is what the spread is taken of, if not the input."""
    return _affine(_standardized(input, tuple(range(-len(normalized_shape), 0)), eps, spread_of), weight, bias)


def rms_norm(
    input: Tensor,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
    spread_of: Tensor | None = None,
) -> Tensor:
    """`torch.nn.functional.rms_norm`, likewise."""
    spread_of = input if spread_of is None else spread_of
    power = (spread_of * spread_of).mean(tuple(range(-len(normalized_shape), 0)), keepdim=True)
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    return _affine(input * torch.rsqrt(power + eps), weight, None)


def group_norm(
    input: Tensor,  # noqa: A002
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    spread_of: Tensor | None = None,
) -> Tensor:
    """`torch.nn.functional.group_norm`, likewise."""
    groups = input.unflatten(1, (num_groups, -1))
    spread_of = None if spread_of is None else spread_of.unflatten(1, (num_groups, -1))
    normal = _standardized(groups, tuple(range(2, groups.dim())), eps, spread_of).flatten(1, 2)
    return _affine(normal, *(_by_channel(p, input) for p in (weight, bias)))


def instance_norm(
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    spread_of: Tensor | None = None,
) -> Tensor:
    """`torch.nn.functional.instance_norm`, likewise."""
    if use_input_stats:
        normal = _standardized(input, tuple(range(2, input.dim())), eps, spread_of)
    else:
        assert running_mean is not None
        assert running_var is not None
        normal = (input - _by_channel(running_mean, input)) * torch.rsqrt(_by_channel(running_var, input) + eps)
    return _affine(normal, *(_by_channel(p, input) for p in (weight, bias)))


def _standardized(x: Tensor, dims: tuple[int, ...], eps: float, spread_of: Tensor | None = None) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    other = centred if spread_of is None else spread_of - spread_of.mean(dims, keepdim=True)
    return centred * torch.rsqrt((other * other).mean(dims, keepdim=True) + eps)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _by_channel(parameter: Any, x: Tensor) -> Any:
    return None if parameter is None else parameter.reshape(-1, *[1] * (x.dim() - 2))


def _var(
    input: Tensor,  # noqa: A002
    dim: Any = None,
    unbiased: Any = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    x = input
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = tuple(range(x.dim())) if dim is None else ((dim,) if isinstance(dim, int) else tuple(dim))
    correction = int(unbiased) if correction is None else correction
    centred = x - x.mean(dims, keepdim=True)
    count = torch.Size([x.shape[d] for d in dims]).numel()
    return (centred * centred).sum(dims, keepdim=keepdim) / max(count - correction, 0)


def _mean(input: Tensor, dim: Any = None, _: Any = True, keepdim: bool = False, **__: Any) -> Tensor:  # noqa: A002
    dim = None if isinstance(dim, bool) else dim
    return input.mean(tuple(range(input.dim())) if dim is None else dim, keepdim=keepdim)


def _aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:  # noqa: A002
    dims = () if dim is None else (dim,)
    return torch.return_types.aminmax((input.amin(dims, keepdim=keepdim), input.amax(dims, keepdim=keepdim)))


def _prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:  # noqa: A002
    x = input if dtype is None else input.to(dtype)
    factors = x.flatten().unbind() if dim is None else x.unbind(dim)
    product = functools.reduce(torch.mul, factors)
    return product.unsqueeze(dim) if keepdim and dim is not None else product


def _cross_entropy(
    input: Tensor,  # noqa: A002
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    if target.is_floating_point() or label_smoothing or size_average is not None or reduce is not None:
        raise UnknownOperationError("cross_entropy", " of other targets than classes")
    logs = torch.log_softmax(input, 1 if input.dim() > 1 else 0)
    return F.nll_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction)


def _glu(input: Tensor, dim: int = -1) -> Tensor:  # noqa: A002
    a, b = input.chunk(2, dim)
    return gated(torch.sigmoid(b), a)


def _added(start: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """`beta start + alpha product`, with nothing multiplied by one; what is multiplied by zero may be infinite."""
    product = product if alpha == 1 else alpha * product
    if beta == 0:
        return product
    return (start if beta == 1 else beta * start) + product


def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1, **_: Any) -> Tensor:  # noqa: A002
    return _added(input, torch.matmul(mat1, mat2), beta, alpha)


def _addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:  # noqa: A002
    return _addmm(input, mat, vec, beta=beta, alpha=alpha)


def _baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1, **_: Any) -> Tensor:  # noqa: A002
    return _addmm(input, batch1, batch2, beta=beta, alpha=alpha)


def _addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:  # noqa: A002
    return _added(input, torch.matmul(batch1, batch2).sum(0), beta, alpha)


def _addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:  # noqa: A002
    return _added(input, vec1[:, None] * vec2, beta, alpha)


def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:  # noqa: A002
    return input + value * (tensor1 * tensor2)


def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:  # noqa: A002
    return input + value * (tensor1 / tensor2)


def _lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:  # noqa: A002
    return input + weight * (end - input)


def _logaddexp(input: Tensor, other: Tensor) -> Tensor:  # noqa: A002
    return torch.logsumexp(torch.stack(torch.broadcast_tensors(input, other)), 0)


def _softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:  # noqa: A002
    return torch.softmax(-input, implicit_dim(input) if dim is None else dim, dtype=dtype)


def _cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    lengths = [(x * x).sum(dim).sqrt().clamp(min=eps) for x in (x1, x2)]
    return (x1 * x2).sum(dim) / (lengths[0] * lengths[1])


def _pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


def _bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = torch.einsum("...i,kij,...j->...k", input1, weight, input2)
    return product if bias is None else product + bias


def _mse_loss(input: Tensor, target: Tensor, *_: Any, reduction: str = "mean", **__: Any) -> Tensor:  # noqa: A002
    squares = (input - target) * (input - target)
    return squares if reduction == "none" else (squares.mean() if reduction == "mean" else squares.sum())


def _scatter_with_add(input: Tensor, dim: int, index: Tensor, src: Tensor, **_: Any) -> Tensor:  # noqa: A002
    return torch.scatter_add(input, dim, index, src)


_SOURCES: list[Any] = [
    F.multi_head_attention_forward,
    F.normalize,
    F.local_response_norm,
    F.lp_pool1d,
    F.lp_pool2d,
    F.gumbel_softmax,
]

_FUNCTIONS: dict[str, Any] = {
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "scaled_dot_product_attention": plain_attention,
    **NORMS,
    "var": _var,
    "std": lambda *args, **kwargs: _var(*args, **kwargs).sqrt(),
    "var_mean": lambda *args, **kwargs: (_var(*args, **kwargs), _mean(*args, **kwargs)),
    "std_mean": lambda *args, **kwargs: (_var(*args, **kwargs).sqrt(), _mean(*args, **kwargs)),
    "aminmax": _aminmax,
    "prod": _prod,
    "glu": _glu,
    "addmm": _addmm,
    "addmv": _addmv,
    "baddbmm": _baddbmm,
    "addbmm": _addbmm,
    "addr": _addr,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
    "logaddexp": _logaddexp,
    "softmin": _softmin,
    "cosine_similarity": _cosine_similarity,
    "pairwise_distance": _pairwise_distance,
    "bilinear": _bilinear,  # which torch's vmap loops over
    "mse_loss": _mse_loss,
    "cross_entropy": _cross_entropy,
    "scatter_with_add": _scatter_with_add,
    "rmatmul": lambda right, left: torch.matmul(left, right),
    **RECURRENT,
    **{function.__name__: from_source(function) for function in _SOURCES},
}

OPENED: dict[Key, Rule] = {name: Opened(function) for name, function in _FUNCTIONS.items()}
"""What these operations compute."""
