"""`attrfunc.robust`: the nearest input that a model gets wrong.

Every attack is a function `(model, x, *, label, norm, radius, bounds, ...)` that gives perturbed inputs;
`attrfunc.robust.victim` documents what they share. `minimal_perturbation` and `compare_attacks` take any of them.
`corrupt` is what happens to images without anybody's intent.
"""

from attrfunc.robust.apgd import apgd
from attrfunc.robust.auto_attack import auto_attack
from attrfunc.robust.carlini_wagner import carlini_wagner
from attrfunc.robust.compare_attacks import Attacked, compare_attacks
from attrfunc.robust.corruptions import corrupt, corruption
from attrfunc.robust.deepfool import deepfool
from attrfunc.robust.fab import fab
from attrfunc.robust.fgsm import fgsm
from attrfunc.robust.minimal_perturbation import minimal_perturbation
from attrfunc.robust.pgd import pgd
from attrfunc.robust.square import square

__all__ = [
    "Attacked",
    "apgd",
    "auto_attack",
    "carlini_wagner",
    "compare_attacks",
    "corrupt",
    "corruption",
    "deepfool",
    "fab",
    "fgsm",
    "minimal_perturbation",
    "pgd",
    "square",
]
