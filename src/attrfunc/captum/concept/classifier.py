"""Classifiers that tell concepts apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError

__all__ = ["Classifier", "DefaultClassifier"]


class Classifier(ABC):
    """Base of classifiers, for those of one's own."""

    @abstractmethod
    def __init__(self) -> None: ...

    @abstractmethod
    def train_and_eval(self, dataloader: Iterable[Any], **kwargs: Any) -> dict[str, Any] | None:
        """Learn from batches of activations `(N, F)` and labels `(N,)`; give what is known of the quality."""

    @abstractmethod
    def weights(self) -> Tensor:
        """The weights `(C, F)`."""

    @abstractmethod
    def classes(self) -> Any:
        """The labels of the rows of the weights."""


class DefaultClassifier(Classifier):
    """scikit-learn's `SGDClassifier`."""

    def __init__(self) -> None:
        from sklearn.linear_model import SGDClassifier

        self.lm = SGDClassifier(alpha=0.01, max_iter=1000, tol=1e-3)

    def train_and_eval(
        self, dataloader: Iterable[Any], test_split_ratio: float = 0.33, **kwargs: Any
    ) -> dict[str, Any] | None:
        """Learn from a part of the data, and measure the accuracy on the rest.

        Args:
            dataloader: Batches of activations and labels.
            test_split_ratio: The share of the rest.
            kwargs: Not used.

        Returns:
            `{"accs": accuracy}`.
        """
        parts = list(dataloader)
        inputs, labels = (torch.cat([part[place].detach().cpu() for part in parts]) for place in (0, 1))
        order = torch.randperm(len(inputs))
        count = int(test_split_ratio * len(inputs))
        tested, kept = order[:count], order[count:]
        if len(labels[kept].unique()) < 2:
            fix = "Give more examples, or a smaller test_split_ratio."
            error = ArgumentError("dataloader", "one class to learn from", "two classes and more", fix)
            raise error.within("DefaultClassifier.train_and_eval")
        # Each classifier draws for itself, from torch's default generator.
        self.lm.set_params(random_state=int(torch.randint(2**31 - 1, ())))
        self.lm.fit(inputs[kept].double().numpy(), labels[kept].numpy())
        if not len(tested):
            return {"accs": torch.tensor(torch.nan)}
        predicted = torch.as_tensor(self.lm.predict(inputs[tested].double().numpy()))
        return {"accs": (predicted == labels[tested]).float().mean()}

    def weights(self) -> Tensor:
        """The weights `(C, F)`; of two classes, each other's negatives."""
        if not hasattr(self.lm, "coef_"):
            error = ArgumentError(
                "classifier", "one that has not learned", "a fitted one", "Call train_and_eval first."
            )
            raise error.within("DefaultClassifier.weights")
        weights = torch.as_tensor(self.lm.coef_, dtype=torch.float32)
        return torch.cat([-weights, weights]) if len(weights) == 1 else weights

    def classes(self) -> Any:
        """The labels of the rows of the weights."""
        return self.lm.classes_
