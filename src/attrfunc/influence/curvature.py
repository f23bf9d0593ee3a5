"""Curvatures of a loss: values that solve, and are saved and loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.influence.network import Network
from attrfunc.influence.terms import Gradients, flat

__all__ = ["Curvature", "Matrix", "damped", "digest", "load_curvature", "most_numbers"]

_KINDS: dict[str, type[Curvature]] = {}


@dataclass(frozen=True)
class Curvature:
    """The curvature of a mean loss at a model's parameters, plus a damping.

    Attributes:
        names: The parameters that it is taken of.
        rows: The number of training examples, N.
        damping: What is added to it: the weight decay of the training, where the loss has one.
        digest: A hash of the parameters; those of another model, or of a later step, do not fit.
    """

    names: tuple[str, ...]
    rows: int
    damping: float
    digest: str
    savable: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Let `load_curvature` know the class."""
        _KINDS[cls.__name__] = cls

    def solve(self, vectors: Tensor) -> Tensor:
        """`(curvature + damping)^-1` times vectors `(K, P)`."""
        raise NotImplementedError

    def own(self, network: Network, gradients: Gradients) -> Tensor:
        """The influence of examples on themselves, `(B,)`."""
        self.require(network)
        vectors = flat(gradients, network.dtype)
        return (vectors * self.solve(vectors)).sum(1) / self.rows

    def require(self, network: Network) -> None:
        """Raise if it is not one of this model's parameters as they are."""
        if digest(network) != self.digest:
            raise ArgumentError(
                "curvature",
                "a curvature of other parameters than the model has now",
                "one of this model, as it is",
                "Make it anew, or load the parameters that it was made of.",
            )

    def save(self, path: str | Path) -> None:
        """Write it to a file, which `load_curvature` reads.

        Args:
            path: The file.

        Raises:
            ArgumentError: If it is one that keeps the model and the data, and computes when it solves.
        """
        if not self.savable:
            fix = "Make it anew from the model and the data: it holds nothing that took time."
            error = ArgumentError("path", "a curvature that is not stored", "hessian, ekfac or their like", fix)
            raise error.within("save")
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        try:
            torch.save({"kind": type(self).__name__, **held}, partial)
            partial.replace(target)  # whole, or not at all
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            fix = "Make room, or choose another place."
            told = ArgumentError("path", f"{target}, which cannot be written ({error})", "a place to write to", fix)
            raise told.within("save") from error


def load_curvature(path: str | Path) -> Curvature:
    """A curvature that was saved.

    Args:
        path: The file that `Curvature.save` wrote.

    Raises:
        ArgumentError: If it is no such file.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> curvature = af.influence.hessian(model, [batch], loss=loss, damping=0.1)
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "hessian.pt")
        >>> curvature.save(path)
        >>> af.influence.load_curvature(path).rows
        8
    """
    try:
        held = torch.load(path, weights_only=True)
        kind = _KINDS[held.pop("kind")]
        return kind(**held)
    except Exception as error:  # of whatever kind: the file is not ours, or not whole
        fix = "Pass a file that Curvature.save wrote."
        told = ArgumentError("path", f"{str(path)!r} ({type(error).__name__})", "a saved curvature", fix)
        raise told.within("load_curvature") from error


@dataclass(frozen=True)
class Matrix(Curvature):
    """A curvature by its whole matrix.

    Attributes:
        factor: The Cholesky factor of the damped matrix, `(P, P)`, in double precision.
    """

    factor: Tensor

    def solve(self, vectors: Tensor) -> Tensor:
        """By forward and backward substitution."""
        factor = self.factor.to(vectors.device)
        return torch.cholesky_solve(vectors.double().T, factor).T.to(vectors.dtype)


def most_numbers(network: Network, most: int = 30_000) -> None:
    """Raise if a network has too many parameters for a matrix over all of them."""
    if network.size > most:
        raise ArgumentError(
            "parameters",
            f"{network.size:,} numbers, whose matrix would take {network.size**2 * 8 / 2**30:,.0f} GiB",
            f"up to {most:,}",
            "Choose some: parameters=['head'], or take ekfac, lanczos or cg.",
        )


def cholesky(matrix: Tensor, damping: float) -> Tensor:
    """The Cholesky factor of a symmetric matrix, damped.

    Raises:
        ArgumentError: If it is not positive definite, as far as its precision tells.
    """
    matrix = (matrix.double() + matrix.double().T) / 2
    if not torch.isfinite(matrix).all():
        raise ModelError("the curvature is not finite. Look for overflow, log(0) or 0/0 in the model or the loss.")
    shifted = matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    factor, info = torch.linalg.cholesky_ex(shifted)
    diagonal = factor.diagonal().square()
    if int(info) or diagonal.min() <= 1e-10 * diagonal.max():
        eigenvalues = torch.linalg.eigvalsh(matrix)
        least, greatest = float(eigenvalues[0]), float(eigenvalues[-1])
        enough = max(-2 * least, 0.0) + 1e-4 * max(greatest, 1e-4)
        raise ArgumentError(
            "damping",
            f"{damping}, with which the curvature is singular or not positive definite: its eigenvalues reach from "
            f"{least:.3g} to {greatest:.3g}",
            "a damping that makes all of them positive",
            f"Pass damping={enough:.2g}, say, or the weight decay of the training; ggn has no negative ones.",
        )
    return factor


def damped(damping: Any, *, positive: bool = False) -> float:
    """A damping, checked."""
    number = damping if isinstance(damping, int | float) and not isinstance(damping, bool) else float("nan")
    if not 0 <= number < float("inf") or (positive and number == 0):
        expected = "a number above 0" if positive else "a number of at least 0"
        raise ArgumentError("damping", describe(damping), expected, "Pass the weight decay of the training, or 1e-3.")
    return float(number)


def digest(network: Network) -> str:
    """A hash of a network's parameters."""
    found = hashlib.sha256()
    for name, value in {**network.others, **network.values}.items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(
            value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
    return found.hexdigest()
