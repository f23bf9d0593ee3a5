"""The two ways to fit a linear model: gradient descent, and scikit-learn."""

from __future__ import annotations

import functools
import importlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.perturbation.estimators import fit_estimator, is_weighted

__all__ = ["l2_loss", "sgd_train_linear_model", "sklearn_train_linear_model"]


def l2_loss(x1: Tensor, x2: Tensor, weights: Tensor | None = None) -> Tensor:
    """Half the mean, or the weighted mean, of squared differences."""
    squares = (x1 - x2).square()
    return squares.mean() / 2 if weights is None else (weights / weights.abs().sum() * squares).sum() / 2


class _Plateau:
    """Tells when a loss has not fallen by a threshold for a while."""

    def __init__(self, patience: int, threshold: float) -> None:
        self._patience, self._threshold = patience, threshold
        self._best: Tensor | None = None
        self._idle = 0

    def reached(self, loss: Tensor) -> bool:
        """Whether it has not, now that the loss is this."""
        if self._best is not None:
            fell = loss < self._best and not torch.isclose(self._best, loss, atol=self._threshold)
            self._idle = 0 if fell else self._idle + 1
        if self._best is None or loss <= self._best:
            self._best = loss.clone()
        return self._idle >= self._patience


def sgd_train_linear_model(
    model: Any,
    dataloader: Any,
    construct_kwargs: dict[str, Any],
    max_epoch: int = 100,
    reduce_lr: bool = True,
    initial_lr: float = 0.01,
    alpha: float = 1.0,
    loss_fn: Callable[[Tensor, Tensor, Tensor | None], Tensor] = l2_loss,
    reg_term: int | None = 1,
    patience: int = 10,
    threshold: float = 1e-4,
    running_loss_window: int | None = None,
    device: str | None = None,
    init_scheme: str = "zeros",
    debug: bool = False,
) -> dict[str, float]:
    """Fit a linear model by gradient descent.

    Args:
        model: The `LinearModel`.
        dataloader: Batches `(x, y)` or `(x, y, weights)`, with x of shape `(K, n)`.
        construct_kwargs: Further arguments of `_construct_model_params`.
        max_epoch: The most passes over the batches.
        reduce_lr: Halve the learning rate where the loss does not fall.
        initial_lr: The learning rate.
        alpha: Factor of the penalty.
        loss_fn: The loss of `(y, predicted, weights)`.
        reg_term: The penalty is this norm of the coefficients; `None` is none.
        patience: For how many steps the loss may stay as it is.
        threshold: What counts as a fall of the loss.
        running_loss_window: Over how many steps the loss is averaged; by default as many as there are samples.
        device: Where to compute.
        init_scheme: `"zeros"` or `"xavier"`.
        debug: Print the loss of each step.

    Returns:
        `train_time` in seconds, `train_loss`, and the numbers of steps `train_iter` and passes `train_epoch`.
    """
    begun = time.perf_counter()
    first = _point(next(iter(dataloader)), device)
    outputs = first[1].shape[1] if first[1].dim() == 2 else 1
    model._construct_model_params(in_features=first[0].shape[1], out_features=outputs, **construct_kwargs)
    model.to(first[0].device).train()
    _initialise(model.linear, init_scheme)
    # As in Captum, a window holds one step more than it is said to.
    losses: deque[Tensor] = deque(maxlen=1 + (running_loss_window or first[0].shape[0] * len(dataloader)))
    optimizer = torch.optim.SGD(model.parameters(), lr=initial_lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=threshold
    )
    plateau, steps = _Plateau(patience, threshold), 0
    epoch = 0
    for epoch in range(max_epoch):
        for batch in dataloader:
            steps += 1
            with torch.enable_grad():
                loss = _objective(model, _point(batch, device), loss_fn, reg_term, alpha)
            losses.append(loss.detach())
            average = torch.stack(list(losses)).mean()
            if plateau.reached(average):
                return _told(begun, average, steps, epoch)
            if debug:
                print(f"step {steps}: loss {loss.item():.6g}, average {average.item():.6g}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if reduce_lr:
                scheduler.step(average)
    return _told(begun, average, steps, epoch + 1)


def _told(begun: float, loss: Tensor, steps: int, epochs: int) -> dict[str, float]:
    seconds = time.perf_counter() - begun
    return {"train_time": seconds, "train_loss": loss.item(), "train_iter": steps, "train_epoch": epochs}


def _objective(
    model: Any, point: tuple[Tensor, Tensor, Tensor | None], loss_fn: Callable[..., Tensor], norm: Any, alpha: float
) -> Tensor:
    x, y, weights = point
    weights = None if weights is None else weights.view(len(x), -1)
    loss = loss_fn(y.view(len(x), -1), model(x), weights)
    return loss if norm is None else loss + alpha * torch.linalg.vector_norm(model.linear.weight, norm)


def _point(batch: Any, device: str | None) -> tuple[Tensor, Tensor, Tensor | None]:
    x, y, *rest = [part if device is None else part.to(device) for part in batch]
    return x, y, rest[0] if rest else None


@torch.no_grad()
def _initialise(linear: nn.Linear, scheme: str) -> None:
    if scheme not in ("zeros", "xavier"):
        raise ArgumentError("init_scheme", describe(scheme), "'zeros' or 'xavier'", "Choose one of them.")
    nn.init.zeros_(linear.weight)
    if scheme == "xavier":
        nn.init.xavier_uniform_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def sklearn_train_linear_model(
    model: Any,
    dataloader: Iterable[Any],
    construct_kwargs: dict[str, Any],
    sklearn_trainer: str = "linear_model.Lasso",
    norm_input: bool = False,
    **fit_kwargs: Any,
) -> dict[str, float]:
    """Fit a linear model by scikit-learn, to all batches together.

    Args:
        model: The `LinearModel`.
        dataloader: Batches `(x, y)` or `(x, y, weights)`.
        construct_kwargs: Arguments of the estimator.
        sklearn_trainer: Its name below `sklearn`.
        norm_input: Bring each feature to mean 0 and standard deviation 1 first.
        fit_kwargs: Further arguments of its `fit`.

    Returns:
        `train_time` in seconds.
    """
    estimator = _estimator(sklearn_trainer)(**construct_kwargs)
    x, y, *rest = [torch.cat(parts) for parts in zip(*dataloader, strict=True)]
    device, norm = x.device, None
    if norm_input:
        norm = _Standardised(x.mean(0), x.std(0, correction=0))
        x = norm(x)
    begun = time.perf_counter()
    if rest and not is_weighted(estimator):
        warn(f"sklearn.{sklearn_trainer} takes no weights of samples, so all count the same.")
        rest = []
    estimator = fit_estimator(estimator, x, y, *rest, **fit_kwargs)
    seconds = time.perf_counter() - begun
    coefficients = torch.as_tensor(estimator.coef_, dtype=torch.float32, device=device)
    intercept = torch.as_tensor(estimator.intercept_, dtype=torch.float32, device=device)
    classes = torch.as_tensor(estimator.classes_) if hasattr(estimator, "classes_") else None
    model._construct_model_params(
        weight_values=coefficients.reshape(-1, x.shape[1]), bias_value=intercept.reshape(-1), classes=classes
    )
    model.norm = norm
    return {"train_time": seconds}


def _estimator(name: str) -> Any:
    """The class of this name below `sklearn`."""
    try:
        importlib.import_module("sklearn")
    except ImportError:
        fix = "Install the extra attrfunc[sklearn], or use attrfunc.surrogates.ridge() with attrfunc.lime."
        got = f"{name!r} without scikit-learn"
        raise ArgumentError("sklearn_module", got, "scikit-learn installed", fix) from None
    package, _, rest = name.partition(".")
    try:
        return functools.reduce(getattr, rest.split("."), importlib.import_module(f"sklearn.{package}"))
    except (ImportError, AttributeError):
        fix = "Pass 'linear_model.Lasso', say."
        raise ArgumentError("sklearn_module", f"the name {name!r}", "an estimator of scikit-learn", fix) from None


class _Standardised(nn.Module):
    """Inputs less their mean, over their standard deviation."""

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        """The standardised inputs."""
        return (x - self.mean) / self.deviation.clamp(min=1e-8)
