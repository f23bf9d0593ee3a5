"""Similar activations, with Captum's arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from attrfunc.captum.influence._shared import DataInfluence
from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.score.activation import activation
from attrfunc.core.score.views import layer
from attrfunc.influence.batches import batches_of
from attrfunc.influence.top import best

__all__ = ["SimilarityInfluence", "cosine_similarity", "euclidean_distance"]


def euclidean_distance(test: Tensor, train: Tensor) -> Tensor:
    """Distances `(Q, B)`."""
    return torch.cdist(test.flatten(1), train.flatten(1))


def cosine_similarity(test: Tensor, train: Tensor, replace_nan: int = 0) -> Tensor:
    """Cosines `(Q, B)`; `replace_nan` for what is zero, and has none."""
    test, train = test.flatten(1), train.flatten(1)
    scale = test.norm(dim=1, keepdim=True) * train.norm(dim=1)
    return torch.where(scale > 0, test @ train.T / torch.where(scale > 0, scale, 1), float(replace_nan))


class SimilarityInfluence(DataInfluence):
    """The training examples with the most similar activations, with Captum's arguments.

    Activations are computed anew at each call: none are read from or written to `activation_dir`, where those of
    another model could lie.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: str | list[str],
        influence_src_dataset: Dataset[Any],
        activation_dir: str,
        model_id: str = "",
        similarity_metric: Callable[..., Any] = cosine_similarity,
        similarity_direction: str = "max",
        batch_size: int = 1,
        **kwargs: Any,
    ) -> None:
        if similarity_direction not in ("max", "min"):
            raise ArgumentError(
                "similarity_direction", repr(similarity_direction), "'max' or 'min'", "Pass one of them."
            )
        self.module, self.layers = module, [layers] if isinstance(layers, str) else layers
        self.influence_src_dataset, self.activation_dir, self.model_id = influence_src_dataset, activation_dir, model_id
        self.batch_size, self.similarity_direction = batch_size, similarity_direction
        self.replace_nan: int | None = None
        if similarity_metric is cosine_similarity:
            self.replace_nan = kwargs.get("replace_nan", -2 if similarity_direction == "max" else 2)
            similarity_metric = partial(cosine_similarity, replace_nan=self.replace_nan)
        self.similarity_metric = similarity_metric
        self.influence_src_dataloader = DataLoader(influence_src_dataset, batch_size, shuffle=False)

    def influence(  # type: ignore[override]
        self,
        inputs: Tensor | tuple[Tensor, ...],
        top_k: int = 1,
        additional_forward_args: Any = None,
        load_src_from_disk: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The indices and similarities of the `top_k` most similar examples, `(Q, k)` each, by layer."""
        more = additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)
        args = () if additional_forward_args is None else more
        found: dict[str, Any] = {}
        for name in self.layers:
            view = layer(self.module, name)
            with torch.no_grad():
                queries = activation(view, inputs, args=args)
                blocks = [self._similar(queries, view, batch) for batch in batches_of(self.influence_src_dataloader)]
            top = best(blocks, top_k, self.similarity_direction == "max", all_at_most=True)
            found[name] = (top.indices, top.scores)
            self._warn_of_zeros(found, name, torch.cat(blocks, 1))
        return found

    def _similar(self, queries: Tensor, view: Any, batch: Any) -> Tensor:
        others = activation(view, tuple(batch) if isinstance(batch, list) else batch)
        similarity = self.similarity_metric(queries, others)
        shape = (len(queries), len(others))
        if not isinstance(similarity, Tensor) or similarity.shape != shape:
            raise AssertionError(
                f"argument `similarity_metric`: got a metric that gives {describe(similarity)}; expected a tensor of "
                f"shape {shape}. Compare all pairs."
            )
        return similarity

    def _warn_of_zeros(self, found: dict[str, Any], name: str, similarity: Tensor) -> None:
        if self.replace_nan is None:
            return
        pairs = (similarity == self.replace_nan).nonzero()
        if len(pairs):
            key = f"zero_acts-{name}"
            warn(f"Layer {name} has activations of zeros, which have no cosine. Their indices are given as {key!r}.")
            found[key] = pairs
