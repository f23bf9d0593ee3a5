"""LIME: linear models that are fitted around an input; see `attrfunc.lime` and `attrfunc.local_surrogate`."""

from __future__ import annotations

import inspect
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, TensorDataset

import attrfunc as af
from attrfunc.captum.attr.perturbation import PerturbationAttribution
from attrfunc.captum.explainers import NoFuture, holding
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Baselines, Forward, Inputs, Mask, Target
from attrfunc.captum.models import Model, SkLearnLasso
from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.score.target import BatchScore
from attrfunc.core.trees import batch_size, map_rows
from attrfunc.perturbation.feature_groups import Groups
from attrfunc.perturbation.similarity import exponential_weight

__all__ = [
    "KernelShap", "Lime", "LimeBase", "default_from_interp_rep_transform", "default_perturb_func",
    "get_exp_kernel_similarity_function",
]  # fmt: skip


def get_exp_kernel_similarity_function(
    distance_mode: Literal["cosine", "euclidean"] = "cosine", kernel_width: float = 1.0
) -> Callable[..., float]:
    """A `similarity_func`: the exponential kernel of the distance between inputs; see `attrfunc.surrogates`."""

    def similarity(original_inp: Inputs, perturbed_inp: Inputs, __: Any, **kwargs: Any) -> float:
        return exponential_weight(original_inp, perturbed_inp, distance_mode, kernel_width)

    kernel = af.surrogates.exponential_kernel(distance_mode, width=kernel_width, space="input")
    vars(similarity)["kernel"] = kernel  # the same for `attrfunc.lime`, which takes all samples at once
    return similarity


def default_perturb_func(original_inp: Inputs, **kwargs: Any) -> Tensor:
    """Features `(1, num_interp_features)`, each of them 1 half of the time and else 0."""
    device = pytree.tree_leaves(original_inp)[0].device
    return torch.randint(2, (1, _needed(kwargs, "num_interp_features")), device=device)


def default_from_interp_rep_transform(curr_sample: Tensor, original_inputs: Inputs, **kwargs: Any) -> Any:
    """The inputs where a group's feature is not 0, and else the baselines."""
    mask, baselines = _needed(kwargs, "feature_mask"), _needed(kwargs, "baselines")
    if isinstance(original_inputs, Tensor):
        return torch.where(curr_sample[0][mask].bool(), original_inputs, baselines)
    parts = zip(original_inputs, baselines, mask, strict=True)
    return tuple(torch.where(curr_sample[0][ids].bool(), high, low) for high, low, ids in parts)


def _needed(kwargs: dict[str, Any], name: str) -> Any:
    if name not in kwargs:
        raise ArgumentError("kwargs", describe(list(kwargs)), name, f"Pass {name}= to attribute.")
    return kwargs[name]


def _surrogate(model: Any, inputs: Any, *, explainer: LimeBase, further: Any, n_samples: int, **options: Any) -> Any:
    if batch_size(inputs) > 1 and options["target"] is None:
        options["target"] = af.batch_score()
    if batch_size(inputs) > 1 and not isinstance(options["target"], BatchScore):
        fix = "Call it for each example, or use attrfunc.local_surrogate."
        raise ArgumentError("x", f"{batch_size(inputs)} examples", "one, or one score for all of them", fix)
    drawn = list(explainer._drawn(inputs, n_samples, further))
    supply = iter(drawn)
    return af.local_surrogate(
        model,
        inputs,
        perturb=lambda x, generator: next(supply),
        similarity=lambda x, point, features: explainer.similarity_func(x, point, features[None], **further),
        n_samples=len(drawn),
        linear_model=af.surrogates.one_by_one(explainer._fit),
        **options,
    )


class LimeBase(NoFuture, PerturbationAttribution):
    """A surrogate model of the score around an input, of any features; see `attrfunc.local_surrogate`.

    `attribute` takes one example, or a batch with one score, and gives the model's representation: `(1, n)`
    coefficients of a linear one.
    """

    _multiply_by_inputs = _per_output = _per_number = _typed = False
    _random = True

    interpretable_model: Any = None
    similarity_func: Any = None
    perturb_func: Any = None
    perturb_interpretable_space = True
    from_interp_rep_transform: Any = staticmethod(default_from_interp_rep_transform)
    to_interp_rep_transform: Any = None

    @holding
    def __init__(
        self, forward_func: Forward, interpretable_model: Model, similarity_func: Forward, perturb_func: Forward,
        perturb_interpretable_space: bool, from_interp_rep_transform: Forward | None,
        to_interp_rep_transform: Forward | None,
    ) -> None: ...  # fmt: skip

    def _checked(self) -> None:
        needed, sampled = ("from", "features") if self.perturb_interpretable_space else ("to", "inputs")
        if getattr(self, f"{needed}_interp_rep_transform") is None:
            fix = f"It is needed where {sampled} are sampled."
            error = ArgumentError(f"{needed}_interp_rep_transform", "None", "a function", fix)
            raise error.within(type(self).__name__)

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
                yield self.from_interp_rep_transform(sample, inputs, **kwargs), sample.reshape(-1)
            else:
                yield sample, self.to_interp_rep_transform(sample, inputs, **kwargs).reshape(-1)

    def _fit(self, features: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        """Coefficients `(n,)`: what `interpretable_model` represents after a fit to one example."""
        data = TensorDataset(features.float(), scores.float(), weights.float())
        self.interpretable_model.fit(DataLoader(data, batch_size=len(data)))
        return self.interpretable_model.representation().reshape(-1)


def _samples(perturb_func: Callable[..., Any], inputs: Inputs, n_samples: int, kwargs: dict[str, Any]) -> list[Any]:
    """What `perturb_func` draws, or as much as it yields."""
    if not inspect.isgeneratorfunction(perturb_func):
        return [perturb_func(inputs, **kwargs) for _ in range(n_samples)]
    samples = list(itertools.islice(perturb_func(inputs, **kwargs), n_samples))
    if len(samples) < n_samples:
        warn(f"perturb_func yielded {len(samples)} samples, fewer than n_samples={n_samples}.")
    return samples


def _lime(
    model: Any, inputs: Any, *, explainer: Lime, feature_mask: Any, return_input_shape: bool, **options: Any
) -> Any:
    leaves, spec = pytree.tree_flatten(inputs)
    mask = (
        pytree.tree_unflatten(Groups.elements(leaves, alike=True).ids, spec) if feature_mask is None else feature_mask
    )
    numbers = torch.cat([part.flatten() for part in pytree.tree_leaves(mask)]).unique()
    first, count = int(numbers[0]), int(numbers[-1] - numbers[0]) + 1
    known = {  # what the functions of the object are told; groups that have gaps lose these elsewhere
        "baselines": pytree.tree_map(lambda leaf: 0, inputs) if options["baseline"] is None else options["baseline"],
        "feature_mask": pytree.tree_map(lambda part: part - first, mask),
        "num_interp_features": count,
    }

    def sampling(n_samples: int, players: int, generator: torch.Generator | None) -> Tensor:
        drawn = [part.reshape(-1) for part in _samples(explainer.perturb_func, inputs, n_samples, known)]
        return torch.stack(drawn).bool()[:, numbers - first]

    def similarity(x: Any, point: Any, coalition: Tensor) -> list[float]:
        features = torch.zeros(1, count, dtype=torch.long, device=coalition.device)
        features[0, numbers - first] = coalition.long()
        one_score, batch = isinstance(options["target"], BatchScore), batch_size(inputs)
        examples = [slice(None)] if one_score else [slice(row, row + 1) for row in range(batch)]
        parts = (map_rows(operator.itemgetter(rows), (inputs, point, known), batch) for rows in examples)
        return [float(explainer.similarity_func(own, moved, features, **told)) for own, moved, told in parts]

    kernel = getattr(explainer.similarity_func, "kernel", None) if all(map(torch.is_floating_point, leaves)) else None
    attributions = af.lime(
        model,
        inputs,
        feature_mask=mask,
        sampling=0.5 if explainer.perturb_func is default_perturb_func else sampling,
        similarity=kernel or af.surrogates.pairwise(similarity),
        linear_model=af.surrogates.one_by_one(explainer._fit),
        **options,
    )
    return attributions if return_input_shape else af.masks.per_group(attributions, mask)[:, first:]


class Lime(LimeBase):
    """LIME of groups of features; see `attrfunc.lime`."""

    _differs: tuple[str, ...] = (
        "One set of coalitions serves all examples of a batch, so that `perturb_func` is called once for all of "
        "them; where all coalitions are no more than `n_samples`, each is taken once; gaps in the numbers of "
        "groups get zeros, and are not fitted. Weights of which only one is not negligible raise.",
    )

    @holding
    def __init__(
        self, forward_func: Forward, interpretable_model: Model | None = None, similarity_func: Forward | None = None,
        perturb_func: Forward | None = None,
    ) -> None: ...  # fmt: skip

    def _checked(self) -> None:
        if self.interpretable_model is None:
            self.interpretable_model = SkLearnLasso(alpha=0.01)
        self.similarity_func = self.similarity_func or get_exp_kernel_similarity_function()
        self.perturb_func = self.perturb_func or default_perturb_func

    @face(_lime)
    def attribute(  # type: ignore[override]  # as in Captum
        self, inputs: Inputs, baselines: Baselines = None, target: Target = None, additional_forward_args: Any = None,
        feature_mask: Mask = None, n_samples: int = 25, perturbations_per_eval: int = 1,
        return_input_shape: bool = True, show_progress: bool = False,
    ) -> Any: ...  # fmt: skip

    def _mirrored(self, result: Any) -> Any:
        return result


class KernelShap(Lime):
    """Kernel SHAP; see `attrfunc.kernel_shap`. Of Captum's family a `Lime`, with nothing of it in use."""

    _differs: tuple[str, ...] = (
        "Coalitions are drawn in pairs of complements, small and large ones enumerated as far as `n_samples` "
        "goes, and shared by all examples; the least squares problem is solved exactly, so attributions sum to "
        "the change of the score. With fewer than n + 2 samples for n groups it raises, where Captum returns one "
        "of many solutions.",
    )
    _per_number = True

    @holding
    def __init__(self, forward_func: Forward) -> None: ...

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
        mask = options["feature_mask"]
        first = 0 if mask is None else min(int(part.min()) for part in pytree.tree_leaves(mask) if part.numel())
        return af.masks.per_group(found, mask)[:, first:]
