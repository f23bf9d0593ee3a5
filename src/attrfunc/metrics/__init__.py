"""`attrfunc.metrics`: what an explanation is worth.

A metric takes what it looks at (model, input and attributions; attributions alone; or a method that it calls again) and
gives one number for each example; `attrfunc.metrics.explanation` says how. `compare` measures several methods.
"""

from attrfunc.gradient.completeness import completeness_gap
from attrfunc.metrics.compare import Comparison, Measured, compare
from attrfunc.metrics.effective_complexity import effective_complexity
from attrfunc.metrics.faithfulness import faithfulness_correlation, monotonicity, sensitivity_n
from attrfunc.metrics.imputers import noisy_linear
from attrfunc.metrics.infidelity import infidelity
from attrfunc.metrics.input_invariance import input_invariance
from attrfunc.metrics.localisation import localisation_auc, pointing_game, relevance_mass, relevance_rank
from attrfunc.metrics.perturbation_curve import curve_area, perturbation_curve
from attrfunc.metrics.randomisation import Randomised, parameter_randomisation, random_logit
from attrfunc.metrics.sensitivity import avg_sensitivity, local_lipschitz, max_sensitivity
from attrfunc.metrics.simplicity import complexity, sparseness
from attrfunc.metrics.sufficiency import sufficiency

__all__ = [
    "Comparison",
    "Measured",
    "Randomised",
    "avg_sensitivity",
    "compare",
    "completeness_gap",
    "complexity",
    "curve_area",
    "effective_complexity",
    "faithfulness_correlation",
    "infidelity",
    "input_invariance",
    "local_lipschitz",
    "localisation_auc",
    "max_sensitivity",
    "monotonicity",
    "noisy_linear",
    "parameter_randomisation",
    "perturbation_curve",
    "pointing_game",
    "random_logit",
    "relevance_mass",
    "relevance_rank",
    "sensitivity_n",
    "sparseness",
    "sufficiency",
]
