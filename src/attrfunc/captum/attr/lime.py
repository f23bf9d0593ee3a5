"""LIME: linear models that are fitted around an input; see `attrfunc.lime` and `attrfunc.local_surrogate`."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, TensorDataset

import attrfunc as af
from attrfunc.captum.attr.attribution import NoFuture
from attrfunc.captum.attr.convert import Baselines, Inputs, as_args, as_baseline, as_mask, captum_call
from attrfunc.captum.attr.lime_defaults import (
    ExponentialKernel,
    default_from_interp_rep_transform,
    default_perturb_func,
    get_exp_kernel_similarity_function,
)
from attrfunc.captum.attr.outputs import of_the_batch, promoted
from attrfunc.captum.attr.perturbation import Mask, PerturbationAttribution
from attrfunc.captum.attr.unbatched import output_of
from attrfunc.captum.models import Model, SkLearnLasso
from attrfunc.core.errors import ArgumentError, warn
from attrfunc.core.score.target import BatchScore, Target
from attrfunc.core.trees import batch_size, map_rows
from attrfunc.perturbation.game import Game

__all__ = [
    "Lime",
    "LimeBase",
    "default_from_interp_rep_transform",
    "default_perturb_func",
    "get_exp_kernel_similarity_function",
]


class LimeBase(NoFuture, PerturbationAttribution):
    """A surrogate model of the score around an input, of any features; see `attrfunc.local_surrogate`.

    Args:
        forward_func: The model.
        interpretable_model: What is fitted; see `attrfunc.captum.models`.
        similarity_func: `(inputs, perturbed inputs, features (1, n), **kwargs) -> weight`.
        perturb_func: `(inputs, **kwargs)` draws features `(1, n)`, or perturbed inputs; or a generator function that
            yields them.
        perturb_interpretable_space: Whether it draws features.
        from_interp_rep_transform: `(features, inputs, **kwargs) -> perturbed inputs`; needed if it does.
        to_interp_rep_transform: `(perturbed inputs, inputs, **kwargs) -> features`; needed if it does not.
    """

    _multiply_by_inputs = False
    _random = True

    def __init__(
        self,
        forward_func: Callable[..., Any],
        interpretable_model: Model,
        similarity_func: Callable[..., Any],
        perturb_func: Callable[..., Any],
        perturb_interpretable_space: bool,
        from_interp_rep_transform: Callable[..., Any] | None,
        to_interp_rep_transform: Callable[..., Any] | None,
    ) -> None:
        super().__init__(forward_func)
        self.interpretable_model = interpretable_model
        self.similarity_func = similarity_func
        self.perturb_func = perturb_func
        self.perturb_interpretable_space = perturb_interpretable_space
        self.from_interp_rep_transform = from_interp_rep_transform
        self.to_interp_rep_transform = to_interp_rep_transform
        needed = "from_interp_rep_transform" if perturb_interpretable_space else "to_interp_rep_transform"
        if getattr(self, needed) is None:
            fix = f"It is needed where {'features' if perturb_interpretable_space else 'inputs'} are sampled."
            raise ArgumentError(needed, "None", "a function", fix).within(type(self).__name__)

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        n_samples: int = 50,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The representation of the model fitted to perturbations of one example, or of a batch with one score.

        Args:
            inputs: The inputs.
            target: The target.
            additional_forward_args: Further arguments of the model.
            n_samples: Number of perturbations.
            perturbations_per_eval: How many are evaluated at once.
            show_progress: Show a bar.
            kwargs: Passed on to all functions of this object.

        Returns:
            What `interpretable_model.representation()` gives: `(1, n)` coefficients of a linear model.
        """
        options = self._evaluation(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        if batch_size(inputs) > 1 and not isinstance(options["target"], BatchScore):
            fix = "Call it for each example, or use attrfunc.local_surrogate."
            raise ArgumentError("x", f"{batch_size(inputs)} examples", "one, or one score for all of them", fix)
        drawn = list(self._drawn(inputs, n_samples, kwargs))
        supply = iter(drawn)
        af.local_surrogate(
            self.forward_func,
            inputs,
            perturb=lambda x, generator: next(supply),
            similarity=lambda x, point, features: self.similarity_func(x, point, features[None], **kwargs),
            n_samples=len(drawn),
            linear_model=self._fit,
            **options,
        )
        return self.interpretable_model.representation()

    def _evaluation(self, inputs: Inputs, target: Target, further: Any, at_once: int, show: bool) -> dict[str, Any]:
        options = self._options(inputs, target=target, args=as_args(further), chunk_size=at_once, progress=show)
        output = output_of(self.forward_func, inputs, options["args"]) if target is None else None
        return options | {"target": af.batch_score()} if of_the_batch(output, batch_size(inputs)) else options

    def _drawn(self, inputs: Inputs, n_samples: int, kwargs: dict[str, Any]) -> Iterator[tuple[Any, Tensor]]:
        """Perturbed inputs and their features `(n,)`."""
        for sample in _samples(self.perturb_func, inputs, n_samples, kwargs):
            if self.perturb_interpretable_space:
                assert self.from_interp_rep_transform is not None
                yield self.from_interp_rep_transform(sample, inputs, **kwargs), sample.reshape(-1)
            else:
                assert self.to_interp_rep_transform is not None
                yield sample, self.to_interp_rep_transform(sample, inputs, **kwargs).reshape(-1)

    def _fit(self, features: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        """Coefficients `(B, n)`: what `interpretable_model` represents after a fit to each example."""
        found = []
        for row in range(scores.shape[1]):
            weight = weights[:, row if weights.shape[1] > 1 else 0]
            data = TensorDataset(features.float(), scores[:, row].float(), weight.float())
            self.interpretable_model.fit(DataLoader(data, batch_size=len(data)))
            found.append(self.interpretable_model.representation().reshape(-1))
        return torch.stack(found).to(scores)


def _samples(perturb_func: Callable[..., Any], inputs: Inputs, n_samples: int, kwargs: dict[str, Any]) -> Iterator[Any]:
    """What `perturb_func` draws, or as much as it yields."""
    if not inspect.isgeneratorfunction(perturb_func):
        for _ in range(n_samples):
            yield perturb_func(inputs, **kwargs)
        return
    supply = perturb_func(inputs, **kwargs)
    for number in range(n_samples):
        sample = next(supply, None)
        if sample is None:
            warn(f"perturb_func yielded {number} samples, fewer than n_samples={n_samples}.")
            return
        yield sample


class Lime(LimeBase):
    """LIME of groups of features; see `attrfunc.lime`.

    Args:
        forward_func: The model.
        interpretable_model: What is fitted; `SkLearnLasso(alpha=0.01)` by default (needs `attrfunc[sklearn]`).
        similarity_func: As for `LimeBase`; `get_exp_kernel_similarity_function()` by default.
        perturb_func: As for `LimeBase`, of features 0 and 1; by default each is 1 half of the time.
    """

    _differs: tuple[str, ...] = (
        "One set of coalitions serves all examples of a batch, so that `perturb_func` is called once for all of "
        "them; where all coalitions are no more than `n_samples`, each is taken once; gaps in the numbers of "
        "groups get zeros, and are not fitted. Weights of which only one is not negligible raise.",
    )

    def __init__(
        self,
        forward_func: Callable[..., Any],
        interpretable_model: Model | None = None,
        similarity_func: Callable[..., Any] | None = None,
        perturb_func: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(
            forward_func,
            SkLearnLasso(alpha=0.01) if interpretable_model is None else interpretable_model,
            get_exp_kernel_similarity_function() if similarity_func is None else similarity_func,
            default_perturb_func if perturb_func is None else perturb_func,
            True,
            default_from_interp_rep_transform,
            None,
        )

    @captum_call
    def attribute(  # type: ignore[override]  # as in Captum
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Mask = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Any:
        """Attribute to the inputs.

        Args:
            inputs: The inputs.
            baselines: What replaces features.
            target: The target.
            additional_forward_args: Further arguments of the model.
            feature_mask: The groups of features.
            n_samples: Number of coalitions of groups.
            perturbations_per_eval: How many are evaluated at once.
            return_input_shape: `False` gives the coefficients of the groups.
            show_progress: Show a bar.

        Returns:
            Coefficients, a tensor or a tuple as `inputs` is; or `(B, n)`, where n is the largest number of a group less
            the smallest, plus 1.
        """
        options = self._evaluation(inputs, target, additional_forward_args, perturbations_per_eval, show_progress)
        mask, baseline = as_mask(feature_mask, inputs), as_baseline(baselines, inputs)
        inputs = promoted(inputs, baseline)
        hooks = _Hooks(self, inputs, baseline, mask)
        attributions = af.lime(
            self.forward_func,
            inputs,
            baseline=baseline,
            feature_mask=mask,
            n_samples=n_samples,
            similarity=hooks.similarity(),
            sampling=hooks.sampling(),
            linear_model=hooks.fit,
            **options,
        )
        return attributions if return_input_shape else hooks.coefficients()


class _Hooks:
    """The functions of a `Lime` object as `attrfunc.lime` takes them; groups that have gaps lose these there."""

    def __init__(self, lime: Lime, inputs: Inputs, baseline: Any, mask: Any) -> None:
        self._lime, self._inputs = lime, inputs
        if mask is None:
            leaves = [leaf[:1] for leaf in pytree.tree_leaves(inputs)]
            numbers = torch.arange(sum(leaf.numel() for leaf in leaves), device=leaves[0].device)
            parts = numbers.split([leaf.numel() for leaf in leaves])
            parts = [part.view_as(leaf) for part, leaf in zip(parts, leaves, strict=True)]
            mask = pytree.tree_unflatten(list(parts), pytree.tree_structure(inputs))
        self._used = torch.cat([part.flatten() for part in pytree.tree_leaves(mask)]).unique()
        first = int(self._used[0])
        self._used = self._used - first
        self._count = int(self._used[-1]) + 1
        self._kwargs = {
            "baselines": pytree.tree_map(lambda leaf: 0, inputs) if baseline is None else baseline,
            "feature_mask": pytree.tree_map(lambda part: part - first, mask),
            "num_interp_features": self._count,
        }
        self._found: list[Tensor] = []

    def sampling(self) -> Any:
        """Which coalitions are drawn."""
        perturb_func = self._lime.perturb_func
        if perturb_func is default_perturb_func:
            return 0.5

        def draw(n_samples: int, players: int, generator: torch.Generator | None) -> Tensor:
            drawn = [part.reshape(-1) for part in _samples(perturb_func, self._inputs, n_samples, self._kwargs)]
            return torch.stack(drawn).bool()[:, self._used]

        return draw

    def similarity(self) -> Any:
        """How much each of them counts."""
        function = self._lime.similarity_func
        floating = all(leaf.is_floating_point() for leaf in pytree.tree_leaves(self._inputs))
        if isinstance(function, ExponentialKernel) and floating:
            return function.kernel

        def weigh(coalitions: Tensor, game: Game) -> Tensor:
            return torch.tensor([self._weights(coalition, game) for coalition in coalitions])

        return weigh

    def _weights(self, coalition: Tensor, game: Game) -> list[float]:
        """One coalition's weight for each example, or for the whole batch."""
        point = game.point.restored([leaf[0] for leaf in game.points(coalition[None])])
        features = torch.zeros(1, self._count, dtype=torch.long, device=coalition.device)
        features[0, self._used] = coalition.long()
        triple = (self._inputs, point, self._kwargs)
        batch = batch_size(self._inputs)
        examples = [slice(row, row + 1) for row in range(batch)] if game.rows > 1 else [slice(None)]
        found = []
        for rows in examples:
            inputs, one, kwargs = map_rows(operator.itemgetter(rows), triple, batch)
            found.append(float(self._lime.similarity_func(inputs, one, features, **kwargs)))
        return found

    def fit(self, features: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        """Fit the object's model."""
        self._found = [self._lime._fit(features, scores, weights)]
        return self._found[0]

    def coefficients(self) -> Tensor:
        """Coefficients `(B, n)`, zero where no group has that number."""
        (found,) = self._found
        spaced = found.new_zeros(len(found), self._count)
        spaced[:, self._used] = found
        return spaced
