"""The classes that attribute to the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NoFuture
from attrfunc.captum.attr.convert import Baselines, Inputs, as_args, as_baseline, captum_call
from attrfunc.core.score.target import Target

__all__ = ["InputXGradient", "IntegratedGradients", "Saliency"]


class IntegratedGradients(NoFuture, GradientAttribution):
    """Integrated gradients; see `attrfunc.integrated_gradients`.

    Args:
        forward_func: The model.
        multiply_by_inputs: `False` gives the average gradient itself.
    """

    def __init__(self, forward_func: Callable[..., Any], multiply_by_inputs: bool = True) -> None:
        super().__init__(forward_func)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Attribute to the inputs; for the arguments see `attrfunc.captum.attr.convert` and `attrfunc.ig`.

        Returns:
            Attributions, a tensor or a tuple as `inputs` is; with `return_convergence_delta`, a pair of these and the
            deltas `(B,)`.
        """
        attributions = af.ig(
            self.forward_func,
            inputs,
            baseline=as_baseline(baselines, inputs),
            target=target,
            args=as_args(additional_forward_args),
            n_steps=n_steps,
            method=method,
            multiply_by_inputs=self._multiply_by_inputs,
            chunk_size=internal_batch_size,
        )
        if not return_convergence_delta:
            return attributions
        return attributions, self.compute_convergence_delta(
            attributions, baselines, inputs, target, additional_forward_args
        )

    def has_convergence_delta(self) -> bool:
        """Attributions are complete."""
        return True


class Saliency(NoFuture, GradientAttribution):
    """The gradient; see `attrfunc.saliency`.

    Args:
        forward_func: The model.
    """

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        abs: bool = True,  # noqa: A002  # Captum's name
        additional_forward_args: Any = None,
    ) -> Any:
        """The gradient at the inputs, or with `abs` its absolute value; a tensor or a tuple as `inputs` is."""
        args = as_args(additional_forward_args)
        return af.saliency(self.forward_func, inputs, target=target, args=args, absolute=abs)


class InputXGradient(NoFuture, GradientAttribution):
    """Input times gradient; see `attrfunc.input_x_gradient`.

    Args:
        forward_func: The model.
    """

    _multiply_by_inputs = True

    @captum_call
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Any:
        """The inputs times the gradient there; a tensor or a tuple as `inputs` is."""
        return af.input_x_gradient(self.forward_func, inputs, target=target, args=as_args(additional_forward_args))
