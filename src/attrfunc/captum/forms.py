"""The forms of Captum's arguments, and what each is: the one source of what `help` says of all classes."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from attrfunc.core.score.target import Target as Target

__all__ = [
    "Baselines", "Forward", "Inputs", "Layers", "Mask", "Options", "Samples", "Selector", "Target", "describe_all",
]  # fmt: skip

Forward = Callable[..., Any]
Inputs = Tensor | tuple[Tensor, ...]
Baselines = None | float | Tensor | tuple[Tensor | float, ...]
Samples = Tensor | tuple[Tensor, ...] | Callable[..., Tensor | tuple[Tensor, ...]]
Mask = None | Tensor | tuple[Tensor, ...]
Layers = nn.Module | list[nn.Module]
Selector = int | tuple[int | slice, ...] | Callable[[Any], Tensor]
Custom = Callable[..., tuple[Tensor, ...]] | None
Numbers = float | tuple[float, ...]
Options = dict[str, Any] | None

MEANING = {
    "forward_func": "The model: a module, any callable, or a view.",
    "model": "The model.",
    "layer": "The layer, or for most layer classes a list of layers, by dotted names or as modules.",
    "device_ids": "Kept, without effect: layers of a `DataParallel` model are found where they run.",
    "multiply_by_inputs": "`False` leaves out the factor inputs - baselines: gradients, or multipliers, themselves.",
    "memory_efficient": "Give the results on the CPU.",
    "eps": "Kept, without effect: which changes are nothing follows from the precision.",
    "perm_func": "A function of the inputs and a mask that permutes what is under the mask.",
    "attribution_method": "An object of any class of this package.",
    "use_relu_grad_output": "Deconvolution, not guided backpropagation.",
    "interpretable_model": "What is fitted; see `attrfunc.captum.models`. `SkLearnLasso(alpha=0.01)` by default.",
    "similarity_func": "`(inputs, perturbed inputs, features (1, n), **kwargs) -> weight`.",
    "inp": "The prompt.",
    "num_trials": "How often to attribute; the mean is given.",
    "gen_args": "What `model.generate` takes.",
    "use_cached_outputs": "No effect: what prompts share is kept where that is exact.",
    "_inspect_forward": "Called with each prompt, the answer, and its probabilities.",
    "forward_in_tokens": "No effect: the answer is read in one pass where that is the same as token by token.",
    "dataloader": "The batches.",
    "input_roles": "What each element of a batch is for, a number of `InputRole`.",
    "reduce": "Collects outputs: `(state, output, batch) -> state`.",
    "to_metric": "Makes a metric of the last state.",
    "perturbations_per_pass": "How many groups to replace in one pass over the data.",
    "perturb_func": "`(inputs, **kwargs)` draws features `(1, n)`, or perturbed inputs; or a generator function.",
    "perturb_interpretable_space": "Whether it draws features.",
    "from_interp_rep_transform": "`(features, inputs, **kwargs) -> perturbed inputs`; needed if it does.",
    "to_interp_rep_transform": "`(perturbed inputs, inputs, **kwargs) -> features`; needed if it does not.",
    "inputs": "A tensor, or a tuple of tensors that is spread over the model's positional arguments.",
    "neuron_selector": "An int for a layer with one dimension behind the batch; a tuple of ints and slices for one with"
    " more, where a slice sums over its range; or a callable that maps the activation to one number per row, or for the"
    " whole batch.",
    "baselines": "`None` (zeros), a number, a tensor, or a tuple of these.",
    "samples": "The distribution of baselines: a tensor `(N, *S)`, a tuple of these that are drawn together, or a "
    "callable that gives them, of the inputs or of nothing.",
    "layer_baselines": "What replaces the layer's activation; zeros by default.",
    "target": "See `attrfunc.core.score.target`.",
    "additional_forward_args": "What the model is called with after the inputs: a tuple, or one argument of any other"
    " type.",
    "abs": "Give absolute values.",
    "n_steps": "Number of points of the path.",
    "method": "The rule of integration; see `attrfunc.core.loops.quadrature`.",
    "internal_batch_size": "Rows that are evaluated at once; `None` lets the library choose.",
    "n_samples": "Number of samples, permutations, coalitions or perturbations.",
    "stdevs": "Standard deviation of the noise: a number, or a tuple of numbers, one for each input.",
    "attribute_to_layer_input": "Attribute to what goes into the layer, not to what comes out.",
    "attribute_to_neuron_input": "The neuron stands in what goes into the layer.",
    "relu_attributions": "Cut off what is negative.",
    "attr_dim_summation": "Sum over channels: maps `(B, 1, *S)` of a layer `(B, C, *S)`, and else `(B, C, *S)`.",
    "interpolate_mode": "How the map is resized.",
    "custom_attribution_func": "What to make of multipliers, of these and inputs, or of these and baselines too, each a"
    " tuple; it gives a tuple. At a layer these are activations. Of several baselines it sees one at a time.",
    "grad_kwargs": "Options of `torch.autograd.grad`; those that would change the result are refused.",
    "return_convergence_delta": "Give a pair: attributions and deltas, `(B,)` or of each sample, example by example.",
    "verbose": "Print which rules modules have.",
    "feature_mask": "The groups of features; see `attrfunc.perturbation.feature_groups`.",
    "layer_mask": "The groups of units of the layer's activation, likewise.",
    "perturbations_per_eval": "How many perturbations of the batch are evaluated at once. Where it is not given, the "
    "library chooses.",
    "show_progress": "Show a bar (needs tqdm).",
    "sliding_window_shapes": "The extent of the window along each dimension of an example; a tuple of these for several"
    " inputs.",
    "strides": "Its steps, likewise, or one number for all dimensions.",
    "return_input_shape": "`False` gives coefficients of groups, `(B, n)`, in the order of their numbers.",
    "nt_type": '`"smoothgrad"`, `"smoothgrad_sq"` or `"vargrad"`.',
    "nt_samples": "Number of noisy copies of each example.",
    "nt_samples_batch_size": "How many of them the method is given at once; `None` lets the library choose.",
    "draw_baseline_from_distrib": "Draw a baseline for each copy from `baselines`, which are then samples `(N, *S)`.",
    "kwargs": "Further arguments: of the method, or of the functions of this object; else ignored, as in Captum.",
}  # fmt: skip

WHAT = {
    "attribute": "Attribute; a tensor or a tuple as what is attributed to, or a list for a list of layers.",
    "attribute_future": "What `attribute` gives for a model that returns a `torch.futures.Future`, as a future.",
}


def describe_all(kind: type) -> None:
    """Write what the arguments of a class and of its methods are into their docstrings."""
    told = kind.__doc__ or ""
    for name, function in vars(kind).items():
        if name in WHAT and not getattr(function, "described", False):
            function.described = True
            function.__doc__ = f"{told.partition(chr(10))[0]}\n\n{WHAT[name]}{_arguments(function, kind)}"
    kind.__doc__ = told + _arguments(kind.__init__, kind)  # type: ignore[misc]


def _arguments(function: Callable[..., Any], kind: Any) -> str:
    lines = []
    for name in inspect.signature(function).parameters:
        told = MEANING.get("samples" if name == "baselines" and kind._draws_baselines else name)
        lines += textwrap.wrap(f"{name}: {told}", 110, subsequent_indent="    ") if told else []
    return "\n\nArgs:\n" + textwrap.indent("\n".join(lines), "    ") + "\n" if lines else ""
