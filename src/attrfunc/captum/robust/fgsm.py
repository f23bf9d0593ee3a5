"""The fast gradient sign method."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from attrfunc.captum.convert import captum_call
from attrfunc.captum.robust.perturbation import GradientAttack, as_masks, as_tuple, losses_and_gradients

__all__ = ["FGSM"]


class FGSM(GradientAttack):
    """One step along the sign of the loss's gradient; see `attrfunc.robust.fgsm`.

    Args:
        forward_func: The model.
        loss_func: `(outputs, target)` gives a loss, of each example or of the batch.
        lower_bound: The least value of an element.
        upper_bound: The largest.
    """

    @captum_call
    def perturb(
        self,
        inputs: Any,
        epsilon: float,
        target: Any,
        additional_forward_args: Any = None,
        targeted: bool = False,
        mask: Any = None,
    ) -> Any:
        """Perturb inputs.

        Args:
            inputs: A tensor, or a tuple of them.
            epsilon: Length of the step.
            target: The right class, or that to reach; what `loss_func` takes.
            additional_forward_args: Further arguments of the model.
            targeted: Whether the loss is to fall.
            mask: 1 where inputs may be changed, 0 elsewhere.

        Returns:
            Perturbed inputs, as the inputs.
        """
        tensors = as_tuple(inputs)
        masks = as_masks(mask, tensors)
        score = (target, additional_forward_args, self.loss_func)
        _, slopes, _ = losses_and_gradients(self.forward_func, tensors, *score)
        sign = -1 if targeted else 1
        parts = zip(tensors, slopes, masks, strict=True)
        moved: list[Tensor] = [self.bound(x.detach() + sign * epsilon * slope.sign() * m) for x, slope, m in parts]
        return tuple(moved) if isinstance(inputs, tuple) else moved[0]
