"""The classes that attribute to the input."""

from __future__ import annotations

from typing import Any

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NoFuture, Scaled
from attrfunc.captum.attr.convert import Baselines, Inputs
from attrfunc.captum.attr.faces import face
from attrfunc.core.score.target import Target

__all__ = ["InputXGradient", "IntegratedGradients", "Saliency"]


class IntegratedGradients(Scaled, NoFuture, GradientAttribution):
    """Integrated gradients; see `attrfunc.integrated_gradients`."""

    _differs: tuple[str, ...] = (
        "The weights of `riemann_trapezoid` sum to one, here and for all classes that take it; Captum's sum to (n"
        " - 1) / n.",
        "`internal_batch_size` bounds the rows that are evaluated at once; without it the library chooses, and "
        "memory does not grow with `n_steps`. A batch larger than it is split, where Captum evaluates all "
        "examples at once.",
    )

    _complete = True

    @face(af.ig)
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
        """Attributions, a tensor or a tuple as `inputs` is; with `return_convergence_delta` a pair of these and deltas.

        For the arguments see `attrfunc.captum.attr.convert` and `attrfunc.ig`; deltas are `(B,)`.
        """


class Saliency(NoFuture, GradientAttribution):
    """The gradient; see `attrfunc.saliency`."""

    @face(af.saliency)
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        abs: bool = True,  # noqa: A002  # Captum's name
        additional_forward_args: Any = None,
    ) -> Any:
        """The gradient at the inputs, or with `abs` its absolute value; a tensor or a tuple as `inputs` is."""


class InputXGradient(NoFuture, GradientAttribution):
    """Input times gradient; see `attrfunc.input_x_gradient`."""

    _multiply_by_inputs = True

    @face(af.input_x_gradient)
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Any:
        """The inputs times the gradient there; a tensor or a tuple as `inputs` is."""
