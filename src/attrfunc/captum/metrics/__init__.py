"""The functions of `captum.metrics`: the same names and signatures.

What differs from Captum, on purpose:

* `perturb_func` is called once for each sample, on the batch as it is; Captum repeats the examples for as many samples
  as `max_examples_per_batch` allows, and calls it on all of these.
* The baselines that `explanation_func` takes follow the examples whatever their shape.
* Perturbations of another shape raise `attrfunc.ArgumentError`.
"""

from attrfunc.captum.metrics.infidelity import infidelity, infidelity_perturb_func_decorator
from attrfunc.captum.metrics.sensitivity import sensitivity_max

__all__ = ["infidelity", "infidelity_perturb_func_decorator", "sensitivity_max"]
