"""The classes of `captum.robust`: the same names and signatures.

`attrfunc.robust` has more and stronger attacks. What differs from Captum, on purpose:

* Steps of `PGD` in L2 are normalised gradients; Captum takes their signs, which are no steps of equal length in L2.
* `PGD` gives the point with the largest loss on its way (the smallest, if targeted): of each example if the loss is one
  for each, else of the batch. Captum gives the last.
* Without `loss_func`, the loss is minus the logarithm of the target's output, as in Captum, which takes logarithms of
  negative numbers, too; here it has the same gradient and is a number, and a warning says that logits need another.
* No gradient is taken for 0 because it is small.
* `AttackComparator` evaluates each attempt, however many are grouped, with the arguments of its own examples.
* `MinParamPerturbation` also tries `arg_max`, and steps that rounding would leave out; the binary search gives the
  smallest step of its grid that succeeds, if larger ones do.
* Errors are `attrfunc.ArgumentError`, and a gradient that has no way is `attrfunc.ModelError`.
"""

from attrfunc.captum.robust.attack_comparator import AttackComparator
from attrfunc.captum.robust.fgsm import FGSM
from attrfunc.captum.robust.min_param_perturbation import MinParamPerturbation
from attrfunc.captum.robust.perturbation import Perturbation
from attrfunc.captum.robust.pgd import PGD

__all__ = ["FGSM", "PGD", "AttackComparator", "MinParamPerturbation", "Perturbation"]
