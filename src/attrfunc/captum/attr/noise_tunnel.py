"""Any other class, averaged over noisy copies of the inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from attrfunc.captum.attr.attribution import Attribution
from attrfunc.captum.convert import RENAMED, as_samples
from attrfunc.captum.explainers import NoFuture, holding
from attrfunc.captum.faces import converted, face
from attrfunc.captum.forms import Inputs, Numbers
from attrfunc.core.errors import positive
from attrfunc.core.trees import batch_size

__all__ = ["NoiseTunnel"]


def _smoothed(
    model: Any, inputs: Inputs, *, explainer: NoiseTunnel, further: dict[str, Any], with_deltas: bool,
    nt_samples_batch_size: int | None, draw_baseline_from_distrib: bool, **options: Any,
) -> Any:  # fmt: skip
    """Smoothed attributions of the method, and the deltas of all noisy copies, example by example."""
    method, rows, deltas = explainer.attribution_method, batch_size(inputs), list[Tensor]()
    following = {"additional_forward_args", "neuron_selector", *(() if method._draws_baselines else ("baselines",))}
    captum = {RENAMED[name]: name for name in following}

    def attribute(_: Any, noisy: Inputs, **arguments: Any) -> Any:
        found = method.attribute(noisy, **{captum.get(name, name): value for name, value in arguments.items()})
        if with_deltas:
            found, delta = found
            deltas.append(delta.reshape(-1, rows, len(delta) // batch_size(noisy)))
        return found

    at_once = None if nt_samples_batch_size is None else positive("nt_samples_batch_size", nt_samples_batch_size)
    at_once = 1 if method._random else at_once  # its draws must not depend on how many copies it is given
    given = converted(further, inputs, following)
    samples = as_samples(given.pop("baseline", None), inputs) if draw_baseline_from_distrib else None
    smoothed = af.smooth(
        attribute, baselines=samples, chunk_size=None if at_once is None else at_once * rows, **options
    )
    return smoothed(model, inputs, **given), torch.cat(deltas).transpose(0, 1).flatten() if with_deltas else None


class NoiseTunnel(NoFuture, Attribution):
    """SmoothGrad, its square and VarGrad of any attribution class; see `attrfunc.smooth`.

    A method that draws baselines itself, as gradient SHAP does, is given them as they are. Deltas are `(B *
    nt_samples,)`, example by example.
    """

    _differs: tuple[str, ...] = (
        "Deltas stand example by example whatever `nt_samples_batch_size`; Captum's batch by batch. Without that "
        "argument the library chooses how many samples to take at once, where Captum takes all.",
        "Gradient SHAP is given `baselines` as they are, and draws from them for each noisy copy. Captum draws "
        "twice, or raises.",
    )
    _random = True

    attribution_method: Attribution

    @holding
    def __init__(self, attribution_method: Attribution) -> None: ...

    def _checked(self) -> None:
        method = self.attribution_method
        self.forward_func, self._complete = method.forward_func, method.has_convergence_delta()
        self._multiply_by_inputs = method.multiplies_by_inputs

    @face(_smoothed)
    def attribute(
        self, inputs: Inputs, nt_type: str = "smoothgrad", nt_samples: int = 5,
        nt_samples_batch_size: int | None = None, stdevs: Numbers = 1.0, draw_baseline_from_distrib: bool = False,
        **kwargs: Any,
    ) -> Any: ...  # fmt: skip
