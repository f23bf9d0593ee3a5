"""Which methods there are, and which kinds of input each one fits.

Methods are found in `attrfunc` by their signature: `(model, x, *, ...)`, everything behind `x` by keyword, to a tensor
or a structure of them. A new one shows on the page by itself, for all kinds of input unless `FITS` says otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from attrfunc.insights.docstrings import summary
from attrfunc.insights.inputs import Input, Kind

__all__ = ["Method", "fitting", "methods"]

ALL: frozenset[Kind] = frozenset({"image", "text", "table"})
NONE: frozenset[Kind] = frozenset()
IMAGE: frozenset[Kind] = frozenset({"image"})

# Only what is not for all kinds; why, where it is for none.
FITS: dict[str, frozenset[Kind]] = {
    "activation": NONE,  # values, not attributions
    "ig": NONE,  # another name of integrated_gradients
    "gradient_shap_gap": NONE,  # what a method misses
    "score_change": NONE,
    "shapley_sampling_error": NONE,
    "full_gradients": NONE,  # pairs of what `fullgrad` draws as one map
    "integrated_hessians": NONE,  # pairs of features
    "shapley_interactions": NONE,
    "in_silico_mutagenesis": NONE,  # one-hot sequences
    "local_surrogate": NONE,  # takes functions
    "owen_values": NONE,  # takes groups of groups
    "feature_permutation": NONE,  # needs a batch to permute
    "neuron_conductance": NONE,  # takes a neuron
    "sequential_ig": NONE,  # time series
    "temporal_ig": NONE,
    "blur_ig": IMAGE,
    "guided_ig": frozenset({"image", "table"}),  # its path has no meaning among tokens
    "xrai": IMAGE,
    "rise": IMAGE,
    "extremal_perturbation": IMAGE,
    "fullgrad": IMAGE,
    "grad_cam": IMAGE,
    "score_cam": IMAGE,
    "ablation_cam": IMAGE,
    "eigen_cam": IMAGE,
    "guided_grad_cam": IMAGE,
}
# These replace features and take no gradient, so that they take numbers of tokens as they are.
WITHOUT_GRADIENT = frozenset(
    {
        "banzhaf_values",
        "feature_ablation",
        "gaussian_process_shap",
        "kernel_shap",
        "lime",
        "occlusion",
        "shapley_sampling",
        "shapley_values",
    }
)
# What gives a report, a table or several things is no method.
RETURNS = ("Any", "Tensor", str(inspect.Signature.empty), "<class 'torch.Tensor'>", "typing.Any")
# They take one tensor, or layers of one.
SINGLE = IMAGE


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        name: Its name in `attrfunc`.
        function: The function.
        kinds: Which kinds of input it fits.
    """

    name: str
    function: Callable[..., Any]
    kinds: frozenset[Kind]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Its parameters, by name."""
        return dict(inspect.signature(self.function).parameters)

    @property
    def takes_gradients(self) -> bool:
        """Whether the score has to be differentiable in what is attributed."""
        return self.name not in WITHOUT_GRADIENT

    @property
    def names_layer(self) -> bool:
        """Whether it takes the layer's name itself, and cannot do without."""
        layer = self.parameters.get("layer")
        return layer is not None and layer.default is inspect.Parameter.empty

    @property
    def summary(self) -> str:
        """What it is, in a sentence."""
        return summary(self.function)


def methods() -> dict[str, Method]:
    """All methods that the page knows, by name."""
    import attrfunc as af

    found = {}
    for name in af.__all__:
        function = getattr(af, name)
        if _is_method(function) and (kinds := FITS.get(name, ALL)):
            found[name] = Method(name, function, kinds)
    return found


def fitting(inputs: Iterable[Input]) -> dict[str, Method]:
    """The methods that fit all of a model's inputs at once.

    Several inputs are attributed together at the input. Tokens have no gradient there: where a text is one of several
    inputs, only methods fit that replace features.
    """
    inputs = tuple(inputs)
    kinds = {one.kind for one in inputs}
    found = {name: one for name, one in methods().items() if kinds <= one.kinds}
    if len(inputs) == 1:
        return found
    several = {name: one for name, one in found.items() if not one.names_layer and one.kinds != SINGLE}
    return {name: one for name, one in several.items() if "text" not in kinds or not one.takes_gradients}


def _is_method(function: Any) -> bool:
    if not inspect.isfunction(function):
        return False
    signature = inspect.signature(function)
    if str(signature.return_annotation) not in RETURNS:
        return False
    parameters = list(signature.parameters.values())
    keywords = all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in parameters[2:])
    return [one.name for one in parameters[:2]] == ["model", "x"] and keywords
