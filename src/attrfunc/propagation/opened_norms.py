"""Norms of vectors and matrices, written out."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from attrfunc.propagation.operation import UnknownOperationError

__all__ = ["NORMS", "vector_norm"]


def _norm(
    input: Tensor,  # noqa: A002
    p: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    out: Any = None,
    dtype: Any = None,
) -> Tensor:
    """`torch.norm`."""
    if p == "nuc":
        raise UnknownOperationError("norm", " with p='nuc'")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:  # noqa: A002
    """`torch.linalg.vector_norm`."""
    dims = tuple(range(x.dim())) if dim is None or dim == () else dim
    x = x if dtype is None else x.to(dtype)
    if ord == 0:
        raise UnknownOperationError("norm", " of order 0, which counts")
    if ord == 2:
        return (x * x).sum(dims, keepdim=keepdim).sqrt()
    if abs(ord) == float("inf"):
        return x.abs().amax(dims, keepdim=keepdim) if ord > 0 else x.abs().amin(dims, keepdim=keepdim)
    size = x.abs()
    return (size if ord == 1 else size.pow(ord)).sum(dims, keepdim=keepdim).pow(1 / ord)


def _matrix_norm(
    A: Tensor,  # noqa: N803
    ord: Any = "fro",  # noqa: A002
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """`torch.linalg.matrix_norm`: but for those of singular values, sums of sizes along one dimension of two."""
    if ord == "fro":
        return vector_norm(A, 2, tuple(dim), keepdim, dtype=dtype)
    if not isinstance(ord, int | float) or abs(ord) not in (1, float("inf")):
        raise UnknownOperationError("matrix_norm", f" with ord={ord!r}")
    along, rest = (d % A.dim() for d in (dim if abs(ord) == 1 else tuple(dim)[::-1]))
    sums = (A if dtype is None else A.to(dtype)).abs().sum(along, keepdim=True)
    found = sums.amax(rest, keepdim=True) if ord > 0 else sums.amin(rest, keepdim=True)
    return found if keepdim else found.squeeze((along, rest))


def _linalg_norm(
    A: Tensor,  # noqa: N803
    ord: Any = None,  # noqa: A002
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """`torch.linalg.norm`: of matrices, if an order and two dimensions are given."""
    two = len(dim) == 2 if isinstance(dim, tuple | list) else dim is None and A.dim() == 2
    if ord is not None and two:
        return _matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


NORMS = {"norm": _norm, "vector_norm": vector_norm, "matrix_norm": _matrix_norm, "linalg_norm": _linalg_norm}
"""By name, with torch's arguments."""
