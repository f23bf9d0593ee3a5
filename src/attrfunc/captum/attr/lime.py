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
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.forms import Baselines, Forward, Inputs, Mask, Target
from attrfunc.captum.attr.lime_defaults import (
    ExponentialKernel,
    default_from_interp_rep_transform,
    default_perturb_func,
    get_exp_kernel_similarity_function,
)
from attrfunc.captum.attr.perturbation import PerturbationAttribution
from attrfunc.captum.models import Model, SkLearnLasso
from attrfunc.core.errors import ArgumentError, warn
from attrfunc.core.score.target import BatchScore
from attrfunc.core.trees import batch_size, map_rows
from attrfunc.perturbation.game import Game

__all__ = [
    "KernelShap", "Lime", "LimeBase", "default_from_interp_rep_transform", "default_perturb_func",
    "get_exp_kernel_similarity_function",
]  # fmt: skip


def _surrogate(model: Any, inputs: Any, *, explainer: LimeBase, further: Any, n_samples: int, **options: Any) -> Any:
    if batch_size(inputs) > 1 and not isinstance(options["target"], BatchScore):
        if options["target"] is None:  # one score for all of them, perhaps
            options["target"] = af.batch_score()
        else:
            raise _too_many(inputs)
    drawn = list(explainer._drawn(inputs, n_samples, further))
    supply = iter(drawn)
    try:
        return af.local_surrogate(
            model,
            inputs,
            perturb=lambda x, generator: next(supply),
            similarity=lambda x, point, features: explainer.similarity_func(x, point, features[None], **further),
            n_samples=len(drawn),
            linear_model=explainer._fit,
            **options,
        )
    except ArgumentError as error:
        raise _too_many(inputs) if error.argument == "target" and batch_size(inputs) > 1 else error from None


def _too_many(inputs: Any) -> ArgumentError:
    fix = "Call it for each example, or use attrfunc.local_surrogate."
    return ArgumentError("x", f"{batch_size(inputs)} examples", "one, or one score for all of them", fix)


class LimeBase(NoFuture, PerturbationAttribution):
    """A surrogate model of the score around an input, of any features; see `attrfunc.local_surrogate`.

    `attribute` takes one example, or a batch with one score, and gives the model's representation: `(1, n)`
    coefficients of a linear one.
    """

    _multiply_by_inputs = _per_output = _per_number = _typed = False
    _random = True

    def __init__(
        self, forward_func: Forward, interpretable_model: Model, similarity_func: Forward, perturb_func: Forward,
        perturb_interpretable_space: bool, from_interp_rep_transform: Forward | None,
        to_interp_rep_transform: Forward | None,
    ) -> None:  # fmt: skip
        super().__init__(forward_func)
        self.interpretable_model, self.similarity_func, self.perturb_func = (
            interpretable_model, similarity_func, perturb_func
        )  # fmt: skip
        self.perturb_interpretable_space = perturb_interpretable_space
        self.from_interp_rep_transform = from_interp_rep_transform
        self.to_interp_rep_transform = to_interp_rep_transform
        needed = "from_interp_rep_transform" if perturb_interpretable_space else "to_interp_rep_transform"
        if getattr(self, needed) is None:
            fix = f"It is needed where {'features' if perturb_interpretable_space else 'inputs'} are sampled."
            raise ArgumentError(needed, "None", "a function", fix).within(type(self).__name__)

    @face(_surrogate)
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, n_samples: int = 50,
        perturbations_per_eval: int = 1, show_progress: bool = False, **kwargs: Any,
    ) -> Any: ...  # fmt: skip

    def _mirrored(self, result: Any) -> Any:
        return self.interpretable_model.representation()

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


def _lime(
    model: Any, inputs: Any, *, explainer: Lime, feature_mask: Any, return_input_shape: bool, **options: Any
) -> Any:
    hooks = _Hooks(explainer, inputs, options["baseline"], feature_mask)
    sampling, similarity = hooks.sampling(), hooks.similarity()
    options |= {"feature_mask": feature_mask, "sampling": sampling, "similarity": similarity}
    attributions = af.lime(model, inputs, linear_model=hooks.fit, **options)
    return attributions if return_input_shape else hooks.coefficients()


class Lime(LimeBase):
    """LIME of groups of features; see `attrfunc.lime`."""

    _differs: tuple[str, ...] = (
        "One set of coalitions serves all examples of a batch, so that `perturb_func` is called once for all of "
        "them; where all coalitions are no more than `n_samples`, each is taken once; gaps in the numbers of "
        "groups get zeros, and are not fitted. Weights of which only one is not negligible raise.",
    )

    def __init__(
        self, forward_func: Forward, interpretable_model: Model | None = None, similarity_func: Forward | None = None,
        perturb_func: Forward | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            forward_func,
            SkLearnLasso(alpha=0.01) if interpretable_model is None else interpretable_model,
            get_exp_kernel_similarity_function() if similarity_func is None else similarity_func,
            default_perturb_func if perturb_func is None else perturb_func,
            True,
            default_from_interp_rep_transform,
            None,
        )

    @face(_lime)
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, n_samples: int = 25, perturbations_per_eval: int = 1,
        return_input_shape: bool = True, show_progress: bool = False,
    ) -> Any: ...  # fmt: skip

    def _mirrored(self, result: Any) -> Any:
        return result


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


class KernelShap(Lime):
    """Kernel SHAP; see `attrfunc.kernel_shap`. Of Captum's family a `Lime`, with nothing of it in use."""

    _differs: tuple[str, ...] = (
        "Coalitions are drawn in pairs of complements, small and large ones enumerated as far as `n_samples` "
        "goes, and shared by all examples; the least squares problem is solved exactly, so attributions sum to "
        "the change of the score. With fewer than n + 2 samples for n groups it raises, where Captum returns one "
        "of many solutions.",
    )
    _per_number = True

    def __init__(self, forward_func: Forward) -> None:
        PerturbationAttribution.__init__(self, forward_func)

    @face(af.kernel_shap)
    def attribute(  # type: ignore[override]
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, n_samples: int = 25, perturbations_per_eval: int = 1,
        return_input_shape: bool = True, show_progress: bool = False,
    ) -> Any: ...  # fmt: skip

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        whole = options.pop("return_input_shape")
        found = super()._called(function, at, inputs, options)
        if whole:
            return found
        return _of_groups(found, inputs, options["feature_mask"])


def _of_groups(attributions: Any, inputs: Inputs, mask: Any) -> Tensor:
    """One number for each group, from attributions that repeat it at each of its elements.

    Groups stand in the order of their numbers, from the least; where no group has a number there is a zero.
    """
    leaves = pytree.tree_leaves(attributions)
    rows = leaves[0].shape[0]
    found = torch.cat([leaf.reshape(rows, -1) for leaf in leaves], 1)
    if mask is None:
        return found
    parts = pytree.tree_leaves(mask)
    first = min(int(part.min()) for part in parts)
    count = max(int(part.max()) for part in parts) - first + 1
    wide = [part.expand(leaf.shape) for part, leaf in zip(parts, pytree.tree_leaves(inputs), strict=True)]
    flat = [part.flatten(1) if len(part) == rows else part[:1].flatten(1).expand(rows, -1) for part in wide]
    places = torch.cat(flat, 1).to(found.device) - first
    return found.new_zeros(rows, count).scatter(1, places, found)
