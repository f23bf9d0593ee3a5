"""Linear models that are fitted to batches `(x, y)` or `(x, y, weights)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from attrfunc.captum.models.train import l2_loss, sgd_train_linear_model, sklearn_train_linear_model
from attrfunc.core.errors import ArgumentError, ModelError, describe

__all__ = [
    "LinearModel",
    "Model",
    "SGDLasso",
    "SGDLinearModel",
    "SGDLinearRegression",
    "SGDRidge",
    "SkLearnLasso",
    "SkLearnLinearModel",
    "SkLearnLinearRegression",
    "SkLearnLogisticRegression",
    "SkLearnRidge",
    "SkLearnSGDClassifier",
]


class Model(ABC):
    """What `LimeBase` fits; derive a class to fit something of your own."""

    @abstractmethod
    def fit(self, train_data: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Fit anew to a `DataLoader` of batches `(x, y)` or `(x, y, weights)`.

        Args:
            train_data: The batches.
            kwargs: Options of the fit.

        Returns:
            What is to be known of the fit, or None.
        """

    @abstractmethod
    def representation(self) -> Tensor:
        """What `attribute` gives: the coefficients."""

    @abstractmethod
    def __call__(self, x: Any) -> Any:
        """Predict."""


class LinearModel(nn.Module, Model):
    """A linear layer whose parameters are made when it is fitted.

    Args:
        train_fn: A function `(model, dataloader, construct_kwargs, **kwargs)` that fits: it calls
            `_construct_model_params`. See `sgd_train_linear_model` and `sklearn_train_linear_model`.
        kwargs: Its `construct_kwargs`.
    """

    SUPPORTED_NORMS: ClassVar[list[str | None]] = [None, "batch_norm", "layer_norm"]

    def __init__(self, train_fn: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__()
        self.norm: nn.Module | None = None
        self.linear: nn.Linear | None = None
        self._classes: Tensor | None = None
        self.train_fn = train_fn
        self.construct_kwargs = kwargs

    def _construct_model_params(
        self,
        in_features: int | None = None,
        out_features: int | None = None,
        norm_type: str | None = None,
        affine_norm: bool = False,
        bias: bool = True,
        weight_values: Tensor | None = None,
        bias_value: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> None:
        """Make the parameters: of these sizes, or with these values."""
        if norm_type not in self.SUPPORTED_NORMS:
            known = ", ".join(map(repr, self.SUPPORTED_NORMS))
            raise ArgumentError("norm_type", describe(norm_type), known, "Choose one of these.")
        if weight_values is not None:
            weight_values = weight_values.reshape(-1, weight_values.shape[-1])
            out_features, in_features = weight_values.shape
        if in_features is None or out_features is None:
            fix = "Pass in_features and out_features, or weight_values."
            raise ArgumentError("in_features", "no size", "the number of inputs and outputs", fix)
        if bias_value is not None and not bias:
            raise ArgumentError("bias_value", describe(bias_value), "None with bias=False", "Drop one of them.")
        norms: dict[str | None, Callable[[int], nn.Module]] = {
            "batch_norm": lambda size: nn.BatchNorm1d(size, eps=1e-8, affine=affine_norm),
            "layer_norm": lambda size: nn.LayerNorm(size, eps=1e-8, elementwise_affine=affine_norm),
        }
        self.norm = norms[norm_type](in_features) if norm_type is not None else None
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        if weight_values is not None:
            self.linear.weight.data = weight_values
        if bias_value is not None:
            self.linear.bias.data = bias_value
        self._classes = classes

    def fit(self, train_data: Any, **kwargs: Any) -> dict[str, Any]:
        """Call `train_fn`.

        Args:
            train_data: The batches.
            kwargs: Options of `train_fn`.

        Returns:
            What it says of the fit.
        """
        found: dict[str, Any] = self.train_fn(
            self, dataloader=train_data, construct_kwargs=self.construct_kwargs, **kwargs
        )
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Predict."""
        predicted: Tensor = self._fitted()(x if self.norm is None else self.norm(x))
        return predicted

    def representation(self) -> Tensor:
        """The coefficients, `(outputs, n)`, without the bias."""
        return self._fitted().weight.detach()

    def bias(self) -> Tensor | None:
        """The bias, or None if there is none."""
        return None if self.linear is None or self.linear.bias is None else self.linear.bias.detach()

    def classes(self) -> Tensor | None:
        """The classes that a classifier tells apart; None for a regression."""
        return self._classes

    def _fitted(self) -> nn.Linear:
        if self.linear is None:
            raise ModelError("the linear model is not fitted. Call fit first.")
        return self.linear


class SGDLinearModel(LinearModel):
    """A linear model fitted by gradient descent; see `sgd_train_linear_model`.

    Args:
        kwargs: Arguments of `_construct_model_params`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(train_fn=sgd_train_linear_model, **kwargs)


class _Penalised(SGDLinearModel):
    """Base of those that differ in their penalty alone."""

    _norm: ClassVar[int | None]

    def fit(self, train_data: Any, **kwargs: Any) -> dict[str, Any]:
        """Fit to batches; see `sgd_train_linear_model` for options."""
        return super().fit(train_data=train_data, loss_fn=l2_loss, reg_term=self._norm, **kwargs)


class SGDLasso(_Penalised):
    """With a penalty on the sum of absolute coefficients."""

    _norm = 1


class SGDRidge(_Penalised):
    """With a penalty on the Euclidean norm of the coefficients."""

    _norm = 2


class SGDLinearRegression(_Penalised):
    """Without a penalty."""

    _norm = None


class SkLearnLinearModel(LinearModel):
    """A linear model fitted by scikit-learn (needs the extra `attrfunc[sklearn]`).

    Args:
        sklearn_module: The estimator's name below `sklearn`: `"linear_model.Lasso"`.
        kwargs: Its arguments.
    """

    def __init__(self, sklearn_module: str, **kwargs: Any) -> None:
        super().__init__(train_fn=sklearn_train_linear_model, **kwargs)
        self.sklearn_module = sklearn_module

    def fit(self, train_data: Any, **kwargs: Any) -> dict[str, Any]:
        """Fit to batches; further arguments are those of the estimator's `fit`."""
        return super().fit(train_data=train_data, sklearn_trainer=self.sklearn_module, **kwargs)


class _Named(SkLearnLinearModel):
    """Base of those that differ in the estimator alone, whose arguments they take."""

    _estimator: ClassVar[str]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(sklearn_module=self._estimator, **kwargs)


class SkLearnLasso(_Named):
    """`sklearn.linear_model.Lasso`."""

    _estimator = "linear_model.Lasso"


class SkLearnRidge(_Named):
    """`sklearn.linear_model.Ridge`."""

    _estimator = "linear_model.Ridge"


class SkLearnLinearRegression(_Named):
    """`sklearn.linear_model.LinearRegression`."""

    _estimator = "linear_model.LinearRegression"


class SkLearnLogisticRegression(_Named):
    """`sklearn.linear_model.LogisticRegression`."""

    _estimator = "linear_model.LogisticRegression"


class SkLearnSGDClassifier(_Named):
    """`sklearn.linear_model.SGDClassifier`."""

    _estimator = "linear_model.SGDClassifier"
