"""Any other class, averaged over noisy copies of the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

import attrfunc as af
from attrfunc.captum.attr.attribution import Attribution, NoFuture
from attrfunc.captum.attr.convert import Inputs, as_args, as_baseline, as_samples, captum_call
from attrfunc.core.errors import positive
from attrfunc.core.trees import batch_size

__all__ = ["NoiseTunnel"]


class NoiseTunnel(NoFuture):
    """SmoothGrad, its square and VarGrad of any attribution class; see `attrfunc.smooth`.

    Args:
        attribution_method: An object of any class of this package.
    """

    _differs: tuple[str, ...] = (
        "Deltas stand example by example whatever `nt_samples_batch_size`; Captum's batch by batch. Without that "
        "argument the library chooses how many samples to take at once, where Captum takes all.",
        "Gradient SHAP is given `baselines` as they are, and draws from them for each noisy copy. Captum draws "
        "twice, or raises.",
    )

    _random = True
    _names: ClassVar[dict[str, str]] = {"n_samples": "nt_samples", "kind": "nt_type"}

    def __init__(self, attribution_method: Attribution) -> None:
        super().__init__(attribution_method.forward_func)
        self.attribution_method = attribution_method
        self._draws_baselines = attribution_method._draws_baselines

    @property
    def multiplies_by_inputs(self) -> bool:
        """As the method."""
        return self.attribution_method.multiplies_by_inputs

    def has_convergence_delta(self) -> bool:
        """As the method."""
        return self.attribution_method.has_convergence_delta()

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        nt_type: str = "smoothgrad",
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float | tuple[float, ...] = 1.0,
        draw_baseline_from_distrib: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Average the method's attributions over noisy inputs.

        Args:
            inputs: The inputs of the method.
            nt_type: `"smoothgrad"`, `"smoothgrad_sq"` or `"vargrad"`.
            nt_samples: Number of noisy copies of each example.
            nt_samples_batch_size: How many of them go to the method as one batch; `None` lets the library choose.
            stdevs: Standard deviation of the noise: a number, or a tuple of numbers, one for each input.
            draw_baseline_from_distrib: Draw a baseline for each copy from `baselines`, which are then samples
                `(N, *S)`. A method that draws them itself, as gradient SHAP does, is given them as they are.
            **kwargs: Further arguments of the method's `attribute`.

        Returns:
            Attributions nested as the method's; with `return_convergence_delta`, a pair of these and the deltas
            `(B * nt_samples,)`, example by example.
        """
        rows = batch_size(inputs)
        batch = None if nt_samples_batch_size is None else positive("nt_samples_batch_size", nt_samples_batch_size)
        if self.attribution_method._random:
            batch = 1  # its draws must not depend on how many copies it is given
        deltas: list[Tensor] = []
        options = self._options(kwargs, inputs)
        smoothed = af.smooth(
            self._method(rows, deltas),
            n_samples=nt_samples,
            stdev=as_baseline(stdevs, inputs),
            kind=nt_type,
            baselines=as_samples(options.pop("baseline", None), inputs) if draw_baseline_from_distrib else None,
            chunk_size=None if batch is None else batch * rows,
        )
        attributions = smoothed(self.forward_func, inputs, **options)
        return (attributions, torch.cat(deltas).transpose(0, 1).flatten()) if deltas else attributions

    def _options(self, given: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
        """The method's arguments with attrfunc's names, by which they follow the examples."""
        options = dict(given)
        if "additional_forward_args" in options:
            options["args"] = as_args(options.pop("additional_forward_args"))
        if "neuron_selector" in options:
            options["neuron"] = options.pop("neuron_selector")
        if "baselines" in options and not self._draws_baselines:
            options["baseline"] = as_baseline(options.pop("baselines"), inputs)
        return options

    def _method(self, rows: int, deltas: list[Tensor]) -> Callable[..., Any]:
        """The method as a function of attrfunc; deltas `(K, B, ...)` of K noisy copies are put aside."""
        captum = {"args": "additional_forward_args", "baseline": "baselines", "neuron": "neuron_selector"}

        def attribute(_: Any, noisy: Inputs, **options: Any) -> Any:
            found = self.attribution_method.attribute(noisy, **{captum.get(n, n): v for n, v in options.items()})
            if not options.get("return_convergence_delta"):
                return found
            attributions, delta = found
            deltas.append(delta.reshape(-1, rows, len(delta) // batch_size(noisy)))
            return attributions

        return attribute
